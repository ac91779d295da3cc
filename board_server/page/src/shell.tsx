/** What surrounds every page: where one is, whether the connection lives, and the tabs of a run. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { formatAddress } from "./address";
import { address, dark, helpOpen, navigate, pooled, reading, runAddress, settings, store, view } from "./app";
import { Status } from "./controls";
import { countOf } from "./experiment_filters";
import { formatTime } from "./format";
import { canNotify, isAskedFor, toggleNotify } from "./notify";
import { Pool } from "./pool";
import type { Run } from "./run_state";
import { connection } from "./run_store";
import { runsConnection } from "./runs_feed";
import { isSaved } from "./saved";
import { exportAnalysis, ImportButton } from "./sharing";
import { writeView } from "./view_state";

export const TABS = [
  ["overview", "Overview", "What the run has come to, in words"],
  ["flow", "Flow", "All experiments as a table: status, progress, hyperparameters, scores"],
  ["analysis", "Analysis", "Curves of all scores"],
  ["hyperparameters", "Hyperparameters", "How hyperparameters and a score hang together"],
  ["selection", "Selection", "The best by a rule, and how they differ"],
  ["throughput", "Throughput", "How fast it trains, and how fast its events come"],
] as const;

/** Of several runs: beside each other, or their experiments as if they were of one. */
const ACROSS = [
  // What is told apart is computed by a board.
  ...(isSaved ? [] : ([["", "Side by side", "What can be told apart, and what differs"]] as const)),
  ...TABS.slice(1, 5),
] as const;

const tabAddress = (tab: string) =>
  address.value.path[0] === "compare"
    ? formatAddress(["compare", ...(tab ? [tab] : [])], writeView(reading.value.view))
    : runAddress(store.value!.id, tab);

function Tabs({
  label,
  tabs,
  current,
}: {
  label: string;
  tabs: typeof ACROSS | typeof TABS;
  current: string;
}) {
  useEffect(() => {
    // On a phone the tabs go on beyond the edge.
    document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [current]);
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map(([id, title, says]) => (
        <a key={id} title={says} href={tabAddress(id)} aria-current={id === current ? "page" : undefined}>
          {title}
        </a>
      ))}
    </nav>
  );
}

/** `compare.tsx` has a head of its own, with what runs are added by. */
function AcrossHead() {
  const { path, params } = address.value;
  const open = store.value;
  void open?.version.value;
  if (!pooled(params).length) return null;
  return (
    <section class="runhead" aria-label="Runs">
      {open instanceof Pool && (
        <div class="title">
          <h1>
            <a href="#/runs">Runs</a>
            <span aria-hidden="true">/</span>
            <span>{open.size === 1 ? "1 run" : `${open.size} runs`}</span>
          </h1>
          <p class="facts">
            {open.loaded.value && <span>{countOf(open.run)}</span>}
            {open.parts.map(({ error, id, loaded }) =>
              error.value && !loaded.value ? (
                <span key={id} class="bad">
                  {error.value.message}
                </span>
              ) : (
                <a key={id} href={runAddress(id)}>
                  {id}
                </a>
              ),
            )}
          </p>
        </div>
      )}
      <Tabs label="Views of these runs" tabs={ACROSS} current={path[1] ?? ""} />
    </section>
  );
}

const WORDS = {
  connecting: "connecting…",
  saved: "saved file",
  live: "live",
  offline: "not connected",
  barred: "not live: your proxy passes no WebSockets",
  denied: "sign in needed",
  gone: "no such run",
} as const;

function ConnectionState() {
  const inRun = store.value !== null;
  const { state, retryAt } = inRun ? connection.value : runsConnection.value;
  const [, tick] = useState(0);
  useEffect(() => {
    if (retryAt === null) return;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [retryAt]);
  const wait = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  return (
    <span class={`connection c-${state}`} role="status" data-state={state}>
      {WORDS[state]}
      {retryAt !== null && <small> {wait ? `trying again in ${wait} s` : "trying again…"}</small>}
    </span>
  );
}

export function Shell({ children }: { children: ComponentChildren }) {
  const { path } = address.value;
  const open = store.value;
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to content
      </button>
      <header class="top">
        <a class="brand" href="#/runs" aria-label="mlgym board">
          <svg viewBox="0 0 16 16" width="20" height="20" aria-hidden="true">
            <rect width="16" height="16" rx="3.5" />
            <path d="M3 11.5 6 7l2.5 2.5L13 4" />
          </svg>
          <span>mlgym board</span>
        </a>
        <nav aria-label="Board">
          <a href="#/runs" aria-current={path[0] === "runs" && path.length === 1 ? "page" : undefined}>
            Runs
          </a>
          <a href="#/settings" aria-current={path[0] === "settings" ? "page" : undefined}>
            Settings
          </a>
        </nav>
        <span class="space" />
        {path[0] !== "settings" && <ConnectionState />}
        <button
          type="button"
          class="icon"
          title={dark.value ? "Light theme" : "Dark theme"}
          aria-label={dark.value ? "Light theme" : "Dark theme"}
          onClick={() => {
            settings.value = { ...settings.value, theme: dark.value ? "light" : "dark" };
          }}
        >
          {dark.value ? "☀" : "☾"}
        </button>
        <button
          type="button"
          class="icon"
          title="Keyboard shortcuts (?)"
          aria-label="Keyboard shortcuts"
          onClick={() => (helpOpen.value = true)}
        >
          ?
        </button>
      </header>
      {path[0] === "compare" ? <AcrossHead /> : open && <RunHead />}
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}

/** For runs that go on; whoever asked sees it later, too, to take it back. */
function NotifyButton({ run }: { run: Run }) {
  const [refused, setRefused] = useState(false);
  const isOn = isAskedFor(run.id);
  if (!canNotify || !(isOn || run.status === "RUNNING")) return null;
  return (
    <button
      type="button"
      aria-pressed={isOn}
      title="A notification when it ends, is lost, or experiments fail, as long as a page of it is open"
      onClick={async () => setRefused(!(await toggleNotify(run)))}
    >
      {refused ? "The browser forbids it" : "Notify me"}
    </button>
  );
}

function RunHead() {
  const open = store.value!;
  const { path } = address.value;
  void open.version.value;
  void view.value;
  const run = open.loaded.value ? open.run : null;
  return (
    <section class="runhead" aria-label="Run">
      <div class="title">
        <h1>
          <a href="#/runs">Runs</a>
          <span aria-hidden="true">/</span>
          {path.length > 3 ? (
            <a href={runAddress(open.id)}>{run?.name ?? open.id}</a>
          ) : (
            <span>{run?.name ?? open.id}</span>
          )}
          {path[3] !== undefined && (
            <>
              <span aria-hidden="true">/</span> <span>experiment {path[3]}</span>
            </>
          )}
        </h1>
        {run && (
          <p class="facts">
            <Status status={run.status} /> <span>{open.id}</span> <span>{countOf(run)}</span>
            {run.startedMs && <span>started {formatTime(run.startedMs)}</span>}
            {run.mismatches > 0 && (
              <span class="warn">{run.mismatches} scores differ from the log after resuming</span>
            )}
          </p>
        )}
      </div>
      <div class="actions">
        {run && <NotifyButton run={run} />}
        {!isSaved && (
          <a
            class="button"
            title="Beside another run: curves, scores, what differs"
            href={formatAddress(["compare"], { runs: open.id })}
          >
            Compare
          </a>
        )}
        <button
          type="button"
          onClick={exportAnalysis}
          disabled={!run}
          title="Save filters, grouping, rule and chosen experiments as a file"
        >
          Export analysis
        </button>
        <ImportButton />
      </div>
      <Tabs
        label="Views of this run"
        tabs={TABS}
        current={path[2] === "experiments" ? "flow" : (path[2] ?? "")}
      />
    </section>
  );
}

const SHORTCUTS: readonly (readonly [string, string])[] = [
  ["r", "all runs"],
  ["1 … 6", "Overview, Flow, Analysis, Hyperparameters, Selection, Throughput"],
  ["/", "go to the filter, in Selection to the rule"],
  ["↑ ↓ PgUp PgDn Home End", "move in a table"],
  ["Enter", "open the row"],
  ["z", "all epochs again (also a double click on a chart)"],
  ["e", "export the analysis"],
  ["t", "light or dark"],
  ["?", "this list"],
  ["Esc", "close"],
];

export function onShortcut(event: KeyboardEvent, resetZoom: () => void): void {
  const target = event.target as HTMLElement;
  if (event.key === "Escape") helpOpen.value = false;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("input:not([type=range]):not([type=checkbox]), textarea, select")) return;
  const open = store.value;
  const tabs = address.value.path[0] === "compare" ? ACROSS : open ? TABS : [];
  const tab = tabs[Number(event.key) - 1];
  if (event.key === "?") helpOpen.value = !helpOpen.value;
  else if (event.key === "r") navigate(["runs"]);
  else if (event.key === "t") settings.value = { ...settings.value, theme: dark.value ? "light" : "dark" };
  else if (event.key === "/") document.querySelector<HTMLElement>("[data-shortcut='/']")?.focus();
  else if (open && event.key === "z") resetZoom();
  else if (open && event.key === "e") exportAnalysis();
  else if (tab) location.hash = tabAddress(tab[0]);
  else return;
  event.preventDefault();
}

export function Help() {
  const shown = helpOpen.value;
  useEffect(() => {
    const dialog = document.querySelector<HTMLDialogElement>("dialog.help");
    if (shown && !dialog?.open) dialog?.showModal();
    if (!shown) dialog?.close();
  }, [shown]);
  return (
    <dialog class="help" aria-label="Keyboard shortcuts" onClose={() => (helpOpen.value = false)}>
      <h2>Keyboard</h2>
      <dl>
        {SHORTCUTS.map(([keys, what]) => (
          <>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </>
        ))}
      </dl>
      <button type="button" onClick={() => (helpOpen.value = false)}>
        Close
      </button>
    </dialog>
  );
}
