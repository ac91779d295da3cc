/** The page: which view the address names, and the frame around it. */

import { signal } from "@preact/signals";
import { Component, type ComponentChildren, type FunctionComponent, render } from "preact";
import { useEffect } from "preact/hooks";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/data.css";
import "./styles/pages.css";
import "./styles/runs.css";
import { parseAddress } from "./address";
import {
  address,
  foreign,
  formatAddressOf,
  navigate,
  reading,
  readSession,
  setView,
  store,
  view,
} from "./app";
import { Empty } from "./controls";
import type { Foreign } from "./foreign";
import { Analysis } from "./pages/analysis";
import { Flow } from "./pages/flow";
import { Hyperparameters } from "./pages/hyperparameters";
import { Overview } from "./pages/overview";
import { Following, Runs } from "./pages/runs";
import { Selection } from "./pages/selection";
import { SettingsPage, SignIn } from "./pages/settings";
import { Pool } from "./pool";
import { connection, limits, type RunStore } from "./run_store";
import { runsConnection, useRuns } from "./runs_feed";
import { isSaved, saved } from "./saved";
import { Notice } from "./sharing";
import { Help, onShortcut, Shell } from "./shell";
import { RequestError } from "./wire";

/** Views that few open first: each is a file of its own, which is loaded when it is opened. */
const LATER = {
  compare: () => import("./pages/compare").then(({ Compare }) => Compare as View),
  experiment: () => import("./pages/experiment").then(({ ExperimentPage }) => ExperimentPage as View),
  modelCard: () => import("./pages/model_card").then(({ ModelCard }) => ModelCard as View),
  throughput: () => import("./pages/throughput").then(({ Throughput }) => Throughput as View),
};
type View = FunctionComponent<{ store?: RunStore; id?: number }>;
const loaded = signal<Partial<Record<keyof typeof LATER, View | Error>>>({});

function Later({ view: name, ...props }: { view: keyof typeof LATER; store?: RunStore; id?: number }) {
  const Found = loaded.value[name];
  useEffect(() => {
    const keep = (found: View | Error) => {
      loaded.value = { ...loaded.value, [name]: found };
    };
    if (typeof Found !== "function") LATER[name]().then(keep, keep);
  }, [name, (props.store ? connection : runsConnection).value.state]);
  if (!Found) return <Empty title="Loading…" />;
  if (!(Found instanceof Error)) return <Found {...props} />;
  return (
    <Empty title="This view could not be loaded">
      <p>The board has another version than this page by now, or cannot be reached.</p>
      <button type="button" onClick={() => location.reload()}>
        Reload
      </button>
      {!props.store && <Listening />}
    </Empty>
  );
}

/** Learn when the board can be reached again, though nothing of it is shown. */
function Listening() {
  useRuns();
  return null;
}

/** Of one run and of several, in the same words. */
const VIEWS = { flow: Flow, analysis: Analysis, hyperparameters: Hyperparameters, selection: Selection };
const isView = (tab: string | undefined): tab is keyof typeof VIEWS => Object.hasOwn(VIEWS, tab ?? "");

function RunPage({ open }: { open: RunStore | Pool }) {
  const { path } = address.value;
  const error = open.error.value;
  const status = error instanceof RequestError ? error.status : -1;
  if (status === 401 || status === 403 || connection.value.state === "denied") return <SignIn />;
  if (error && !open.loaded.value)
    return (
      <Empty
        title={
          status === 404
            ? "This run is not in the store"
            : status === 0
              ? "The board's server cannot be reached"
              : "This run cannot be shown"
        }
      >
        <p>{error.message}</p>
        <button type="button" onClick={open.retry}>
          Try again
        </button>
        <a href="#/runs">All runs</a>
      </Empty>
    );
  void open.version.value;
  if (!open.loaded.value)
    return (
      <Empty title={open instanceof Pool ? `Loading: ${open.parts.length} of ${open.size}…` : "Loading…"} />
    );
  const [tab, id, sub] = path.slice(open instanceof Pool ? 1 : 2);
  if (isView(tab)) {
    const View = VIEWS[tab];
    return <View store={open} />;
  }
  if (open instanceof Pool) return <NotFound />;
  if (tab === "overview") return <Overview store={open} />;
  if (tab === "throughput") return <Later view="throughput" store={open} />;
  if (tab === "experiments" && /^\d+$/.test(id ?? ""))
    return (
      <Later key={id} view={sub === "model-card" ? "modelCard" : "experiment"} store={open} id={Number(id)} />
    );
  return <NotFound />;
}

function NotFound() {
  return (
    <Empty title="There is no such page">
      <p>
        The address <code>{location.hash}</code> names no view of this board.
      </p>
      <a href="#/runs">All runs</a>
    </Empty>
  );
}

const ASKED: readonly (readonly [Exclude<keyof Foreign, "rule">, string])[] = [
  ["columns", "the filter of"],
  ["ranges", "the range of y of"],
  ["show", "the column"],
  ["group", "the mean by"],
  ["sort", "the order by"],
  ["by", "the score"],
  ["colour", "colours by"],
  ["x", "x as"],
  ["pin", "the pinned chart of"],
  ["map", "the map's axis"],
];

/** An address may come from another version or another run: what does not fit is said, the rest is shown. */
function ForeignState({ open }: { open: RunStore | Pool }) {
  const { foreign: keys, view: wanted } = reading.value;
  void open.version.value;
  if (!open.loaded.value) return null;
  const { experiments } = open.run;
  const found = foreign.value;
  const quote = (names: readonly string[]) => names.map((name) => `“${name}”`).join(", ");
  const parts = keys.map((key) => `“${key}”`);
  for (const [key, words] of ASKED) if (found[key].length) parts.push(`${words} ${quote(found[key])}`);
  const missing = wanted.pick.filter((id) => !experiments.has(id)).length;
  if (missing)
    parts.push(`${missing} chosen ${missing > 1 ? "experiments" : "experiment"} that this run has not`);
  if (!parts.length && !found.rule.length) return null;
  return (
    <p class="notice" role="status">
      <span>
        {parts.length > 0 && `This address also asks for ${parts.join(", ")}; that was left out. `}
        {found.rule.length > 0 && `Its rule names ${quote(found.rule)}, which this run has not.`}
      </span>
      <button
        type="button"
        class="link"
        onClick={() =>
          setView({
            ...view.value,
            pick: wanted.pick.filter((id) => experiments.has(id)),
            rule: found.rule.length ? "" : wanted.rule,
          })
        }
      >
        Tidy up
      </button>
    </p>
  );
}

/** What one view cannot show must not take the others with it; another address tries anew. */
class Boundary extends Component<{ children: ComponentChildren }, { error: Error | null; at: unknown }> {
  override state = { error: null as Error | null, at: null as unknown };
  static override getDerivedStateFromError(error: Error) {
    console.error(error);
    return { error, at: address.peek() };
  }
  render() {
    const { error, at } = this.state;
    if (!error || at !== address.value) return this.props.children;
    return (
      <Empty title="This view cannot be shown">
        <p>Something in it went wrong: {String(error.message ?? error)}</p>
        <button type="button" onClick={() => location.reload()}>
          Reload
        </button>
      </Empty>
    );
  }
}

function Page() {
  const { path } = address.value;
  const open = store.value;
  useEffect(() => {
    const listen = (event: KeyboardEvent) =>
      onShortcut(event, () => setView({ zoom: null, ranges: {} }, false));
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  useEffect(() => {
    document.title = [
      ...path.slice(1).reverse(),
      path[0] === "settings" || path[0] === "compare" ? path[0] : "",
      "mlgym board",
    ]
      .filter(Boolean)
      .join(" · ");
  }, [formatAddressOf(path)]);
  useEffect(() => {
    if (path.length) return;
    if (!isSaved) return navigate(["runs"], {}, true);
    // By then the reader may have gone somewhere, of which no effect knows yet.
    void saved().then(({ first }) => parseAddress(location.hash).path.length || location.replace(first));
  }, [path.length]);
  return (
    <Shell>
      <Notice />
      {open && view.value.follow && <Following />}
      <Boundary key={path.join("/")}>
        {open && <ForeignState open={open} />}
        {open ? (
          <RunPage key={open.id} open={open} />
        ) : path[0] === "settings" ? (
          <SettingsPage />
        ) : path.length <= 1 ? (
          path[0] === "runs" ? (
            <Runs />
          ) : path[0] === "compare" ? (
            <Later view="compare" />
          ) : path.length ? (
            <NotFound />
          ) : null
        ) : (
          <NotFound />
        )}
      </Boundary>
      <Help />
    </Shell>
  );
}

// For the console: what the page knows of the open run.
Object.assign(globalThis, { board: { store, view, limits } });
void readSession();
render(<Page />, document.getElementById("page")!);
