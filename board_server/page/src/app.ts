/** What the whole page shares: the address, the settings of this browser, and the run that is open. */

import { batch, computed, effect, signal } from "@preact/signals";
import { type Address, formatAddress, type Params, parseAddress } from "./address";
import { type Foreign, foreignIn, withoutForeign } from "./foreign";
import { Pool } from "./pool";
import { RunStore } from "./run_store";
import { DEFAULTS, MOST_COMPARED, readView, type ViewState, writeView } from "./view_state";
import { getJson, type Session } from "./wire";

export interface Settings {
  theme: "auto" | "light" | "dark";
  smooth: number;
  logy: boolean;
  dense: boolean;
}

const KEY = "mlgym_jax.board";

function stored(): Settings {
  const usual: Settings = { theme: "auto", smooth: 0, logy: false, dense: false };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return usual; // storage that is forbidden or damaged
  }
}

/** The address as it is meant: a run without a tab is its overview, unless what only its table knows is asked for, as links of old did. */
function readAddress(hash: string): Address {
  const { path, params } = parseAddress(hash);
  if (path[0] !== "runs" || path.length !== 2) return { path, params };
  const asksForTable = Object.keys(params).some((key) => /^(q|sort|show|c\..*)$/.test(key));
  return { path: [...path, asksForTable ? "flow" : "overview"], params };
}

export const settings = signal(stored());
export const address = signal<Address>(readAddress(location.hash));
/** The run that is open, or the runs that are shown as one. */
export const store = signal<RunStore | Pool | null>(null);
export const focused = signal<number | null>(null);
export const session = signal<Session | null>(null);
export const helpOpen = signal(false);

export const reading = computed(() => readView(address.value.params));
// As a text, so that events which change nothing of it change no view.
const foreignText = computed(() => {
  const open = store.value;
  void open?.version.value;
  const experiments = open?.loaded.value ? [...open.run.experiments.values()] : [];
  return JSON.stringify(foreignIn(reading.value.view, experiments));
});
export const foreign = computed((): Foreign => JSON.parse(foreignText.value));
/** What the address asks for, as far as the open run has it. */
export const view = computed(() => withoutForeign(reading.value.view, foreign.value));

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const systemTheme = signal(systemDark.matches);
systemDark.addEventListener("change", () => {
  systemTheme.value = systemDark.matches;
});
/** Paper is white: charts that are printed are drawn for it. */
export const printing = signal(false);
export const dark = computed(() =>
  printing.value
    ? false
    : settings.value.theme === "auto"
      ? systemTheme.value
      : settings.value.theme === "dark",
);

effect(() => {
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
  document.documentElement.dataset.dense = String(settings.value.dense);
  try {
    localStorage.setItem(KEY, JSON.stringify(settings.value));
  } catch {
    // then the settings live as long as the page
  }
});

// Browsers refuse hundreds of changes of the address, so it is written a moment later. Who goes back within that moment
// leaves an entry of the history with its old address; it is put right when one comes to it again.
const late = new Map<number, string>();
let entry: number = history.state ?? Math.random();
let writing = 0;

const write = (hash: string) => history.replaceState(entry, "", hash);
const shownHash = () => formatAddress(address.value.path, address.value.params);
const isWhole = (hash: string) => parseAddress(hash).path.length === address.value.path.length;

if (!isWhole(location.hash)) write(shownHash());

addEventListener("hashchange", () => {
  if (writing) late.set(entry, shownHash());
  stopWriting();
  entry = history.state ?? Math.random();
  const hash = late.get(entry) ?? location.hash;
  late.delete(entry);
  address.value = readAddress(hash);
  write(isWhole(hash) ? hash : shownHash());
});

addEventListener("pagehide", () => {
  if (writing) write(shownHash());
});

function stopWriting(): void {
  clearTimeout(writing);
  writing = 0;
}

export function navigate(path: readonly string[], params: Params = {}, replace = false): void {
  const hash = formatAddress(path, params);
  const now = shownHash();
  if (hash === now) return;
  stopWriting();
  if (replace)
    writing = window.setTimeout(() => {
      writing = 0;
      write(hash);
    }, 150);
  else {
    write(now); // what was not written yet
    entry = Math.random();
    history.pushState(entry, "", hash);
  }
  address.value = readAddress(hash);
}

/** Change parts of the view's state; its address follows. */
export function setView(change: Partial<ViewState>, replace = true): void {
  navigate(address.value.path, writeView({ ...reading.value.view, ...change }), replace);
}

/** The address of a tab of a run; all tabs share the view's state. */
export function runAddress(run: string, ...rest: string[]): string {
  const same = address.value.path[1] === run;
  return formatAddress(
    ["runs", run, ...(rest.length ? rest : ["overview"])],
    same ? writeView(reading.value.view) : firstView(),
  );
}

/** A run opened from within the page begins with this browser's settings; an address says everything itself. */
function firstView(): Params {
  const { smooth, logy } = settings.value;
  return writeView({ ...DEFAULTS, smooth, logy, follow: view.value.follow });
}

/** The runs that an address compares. */
export const pooled = (params: Params) => [...new Set(readView(params).view.runs)].slice(0, MOST_COMPARED);

// Open and close runs as the address says.
effect(() => {
  const { path, params } = address.value;
  const isPool = path[0] === "compare";
  const ids = path[0] === "runs" ? path.slice(1, 2) : isPool && path[1] ? pooled(params) : [];
  const open = store.peek();
  if (open ? open.id === ids.join() && isPool === open instanceof Pool : !ids.length) return;
  batch(() => {
    open?.close();
    focused.value = null;
    store.value = ids.length ? (isPool ? new Pool(ids) : new RunStore(ids[0]!)) : null;
  });
});

export async function readSession(): Promise<void> {
  try {
    session.value = await getJson<Session>("session");
  } catch {
    session.value = null; // an older server, or none: pages say so themselves
  }
}

export function togglePick(id: number): void {
  const picked = new Set(view.value.pick);
  if (!picked.delete(id)) picked.add(id);
  setView({ pick: [...picked] });
}

/** Put a text where it can be pasted from; `false` where the browser does not let a page do so. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no permission, or a page that came unencrypted from another machine
  }
}

export function download(name: string, content: string | Blob, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const formatAddressOf = (path: readonly string[]) => formatAddress(path);
