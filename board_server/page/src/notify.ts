/** Notifications of the browser about runs that somebody asked it for, while a page of the run is open; each once. */

import { effect, signal } from "@preact/signals";
import { store } from "./app";
import type { Run } from "./run_state";
import { isSaved } from "./saved";

const KEY = "mlgym_jax.notify";
const MOST_RUNS = 50; // that are remembered
const NAMED = 8; // experiments

/** What was told, of each run that is asked for. */
const told = signal<Readonly<Record<string, readonly string[]>>>(stored());

export const canNotify = typeof Notification !== "undefined" && !isSaved;

function stored(): Record<string, string[]> {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([, keys]) => Array.isArray(keys))) as Record<
      string,
      string[]
    >;
  } catch {
    return {}; // storage that is forbidden or damaged
  }
}

function keep(run: string, keys: readonly string[] | null): void {
  const { [run]: _, ...others } = told.peek();
  const all = keys ? { ...others, [run]: keys } : others;
  told.value = Object.fromEntries(Object.entries(all).slice(-MOST_RUNS));
  try {
    localStorage.setItem(KEY, JSON.stringify(told.peek()));
  } catch {
    // then they are told anew by another page
  }
}

export const isAskedFor = (run: string): boolean => Object.hasOwn(told.value, run);

/** Begin or end to notify of a run, of what comes from now on; `false` where the browser forbids it. */
export async function toggleNotify(run: Run): Promise<boolean> {
  if (isAskedFor(run.id)) keep(run.id, null);
  else if ((await Notification.requestPermission()) !== "granted") return false;
  else keep(run.id, [...newsOf(run).keys()]);
  return true;
}

/** All that a run gives to tell: what it is about, by a key under which it is told once. */
export function newsOf(run: Run): Map<string, string> {
  const news = new Map<string, string>();
  for (const e of run.experiments.values())
    if (e.status === "FAILED")
      news.set(`failed ${e.id}`, e.error?.startsWith("diverged") ? "diverged" : "failed");
  if (["DONE", "FAILED", "INTERRUPTED", "LOST"].includes(run.status))
    news.set(
      run.status,
      run.status === "LOST" ? "lost: nothing writes it any more" : `finished: ${run.status}`,
    );
  return news;
}

/** The news as lines, those of experiments counted. */
export function linesOf(news: ReadonlyMap<string, string>): string[] {
  const ids = new Map<string, string[]>();
  const lines: string[] = [];
  for (const [key, what] of news)
    if (key.startsWith("failed ")) ids.set(what, [...(ids.get(what) ?? []), key.slice(7)]);
    else lines.push(what);
  const counted = [...ids].map(([what, own]) => {
    const named = own.slice(0, NAMED).join(", ") + (own.length > NAMED ? ", …" : "");
    return own.length > 1 ? `${own.length} experiments ${what}: ${named}` : `experiment ${named} ${what}`;
  });
  return [...counted, ...lines];
}

if (canNotify)
  effect(() => {
    const open = store.value;
    void open?.version.value;
    if (!open?.loaded.value || !isAskedFor(open.id)) return;
    const known = told.peek()[open.id]!;
    const news = newsOf(open.run);
    const fresh = new Map([...news].filter(([key]) => !known.includes(key)));
    if (!fresh.size) return;
    keep(open.id, [...known, ...fresh.keys()]);
    try {
      new Notification(open.run.name ?? open.id, {
        body: linesOf(fresh).join("\n"),
        tag: `mlgym ${open.id}`,
      });
    } catch {
      // a browser that lets pages show none of their own accord
    }
  });
