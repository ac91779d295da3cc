/** Runs side by side: their curves, whether their scores can be told apart, and what differs. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatAddress, formatIds } from "../address";
import { dark, setView, view } from "../app";
import { Chart } from "../chart";
import { ChartChips } from "../chart_chips";
import { Empty, Field, Select, Slider, Toggle } from "../controls";
import { parseRegex } from "../filter";
import { formatTime } from "../format";
import { runLines } from "../run_lines";
import { type Comparison, type Side, Sides } from "../run_sides";
import { tableOfRuns } from "../run_store";
import { Differing, RunsTable } from "../runs_compared";
import { runsConnection, useRuns } from "../runs_feed";
import { isSaved } from "../saved";
import { CUT } from "../score_chart";
import { orderScores } from "../score_order";
import { DEFAULTS, MOST_COMPARED, writeView } from "../view_state";
import type { RunRow } from "../wire";
import { SignIn } from "./settings";

const MOST_BESIDE = 4; // that are offered at a click

export function Compare() {
  const list = useRuns();
  const state = view.value;
  const ids = state.runs.slice(0, MOST_COMPARED);
  const key = [state.by, ...ids].join("\n");
  const [isOpen, setOpen] = useState(false); // on a phone, where they would fill the screen
  const before = useRef<Sides | null>(null);
  const sides = useMemo(() => new Sides(ids, state.by, before.current), [key]);
  before.current = sides;
  useEffect(() => () => sides.close(), [sides]);
  useEffect(() => {
    sides.follow(new Map((list ?? []).map((run) => [run.grid_search_id, run.bytes])));
  }, [sides, list]);
  if (runsConnection.value.state === "denied") return <SignIn />;
  void sides.version.value;
  const shown = ids.map((id) => sides.sides.get(id));
  const found = sides.found.value;
  const first = shown.find((side) => side?.selected)?.selected;
  const by = state.by || first?.monitor || "";
  const names = orderScores(
    [...new Set(shown.flatMap((side) => [...(side?.scores.keys() ?? [])]))],
    by || null,
  );
  const wanted = state.scores ? parseRegex(state.scores) : null;
  const fitting = names.filter((name) => !wanted?.ok || wanted.value(name));
  const rows = new Map((list ?? []).map((run) => [run.grid_search_id, run]));
  const labelOf = labels(ids, shown);
  const read = shown.filter((side) => side && !side.isOld).length;
  const there = ids.filter((id) => sides.sides.get(id)?.selected);
  return (
    <div class="page sheet">
      <div class={`bartop controls folding ${isOpen ? "open" : ""}`}>
        <div class="wide bartop controls">
          <h1>Compare {ids.length > 1 ? `${ids.length} runs` : "runs"}</h1>
          <Adding ids={ids} list={list ?? []} />
        </div>
        <button type="button" class="narrow-only" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? "Fewer controls" : "Controls"}
        </button>
        {names.length > 0 && (
          <>
            <Select
              label="Judged by"
              value={by}
              options={names.map((name) => [name, name] as const)}
              onChange={(name) => setView({ by: name })}
            />
            <Select
              label="Lines"
              value={state.each}
              options={[
                ["mean", "mean of seeds and folds"],
                ["best", "best experiment"],
              ]}
              onChange={(each) => setView({ each })}
            />
            <Field
              label="Scores"
              value={state.scores}
              placeholder="regex: loss, ^val/"
              check={(text) => parseRegex(text)}
              onCommit={(scores) => setView({ scores })}
            />
            <Slider
              label="Smoothing"
              value={state.smooth}
              max={0.99}
              step={0.01}
              onChange={(smooth) => setView({ smooth })}
            />
            <Toggle label="log y" value={state.logy} onChange={(logy) => setView({ logy })} />
            {there.length > 0 && !isSaved && (
              <a
                class="button"
                href={tableOfRuns(there.map((id) => [id, ""]))!}
                title="Every logged value of all experiments of these runs"
                download
              >
                CSV
              </a>
            )}
          </>
        )}
      </div>
      {state.runs.length > ids.length && <p class="none">The first {ids.length} are compared.</p>}
      <ChartChips only={["best", "outliers", "ranges", "zoom", "logx", "symlog"]} />
      {ids.length === 0 ? (
        <Empty title="Nothing to compare yet">
          <p>Tick runs in the list of runs, then “Compare”; or add one above.</p>
          <a href="#/runs">All runs</a>
        </Empty>
      ) : (
        <>
          {sides.problem.value && (
            <p class="notice bad" role="status">
              {sides.problem.value}
            </p>
          )}
          <Beside ids={ids} list={list ?? []} />
          {found && <Sentences found={found} />}
          {fitting.length > 0 && (
            <div class="charts first">
              <RunsChart key={fitting[0]} name={fitting[0]!} shown={shown} found={found} labelOf={labelOf} />
            </div>
          )}
          <RunsTable ids={ids} shown={shown} found={found} by={by} rows={rows} labelOf={labelOf} />
          {read < ids.length && (
            <p class="none" role="status">
              {read} of {ids.length} runs are read…
            </p>
          )}
          <div class="charts">
            {fitting.slice(1).map((name) => (
              <RunsChart key={name} name={name} shown={shown} found={found} labelOf={labelOf} />
            ))}
          </div>
          {found && found.runs.length > 1 && <Differing found={found} labelOf={labelOf} />}
        </>
      )}
    </div>
  );
}

/** What runs are called: by their names where these tell them apart. */
function labels(ids: readonly string[], shown: readonly (Side | undefined)[]): (id: string) => string {
  const names = shown.map((side) => side?.name ?? null);
  return (id) => {
    const name = names[ids.indexOf(id)];
    if (!name) return id;
    return names.filter((other) => other === name).length > 1 ? `${name} (${id})` : name;
  };
}

/** The other runs, of the same name first. */
function others(ids: readonly string[], list: readonly RunRow[]): RunRow[] {
  const own = new Set(list.filter((run) => ids.includes(run.grid_search_id)).map(({ name }) => name));
  const left = list.filter((run) => !ids.includes(run.grid_search_id) && !run.deleted && !run.archived);
  return [...left.filter(({ name }) => own.has(name)), ...left.filter(({ name }) => !own.has(name))];
}

/** With what a run alone is compared at a click: those of its name, the latest first. */
function Beside({ ids, list }: { ids: readonly string[]; list: readonly RunRow[] }) {
  const [first] = ids;
  const near = others(ids, list).slice(0, MOST_BESIDE);
  if (ids.length !== 1 || !near.length) return null;
  return (
    <nav class="bartop" aria-label="Compare it with">
      Compare it with
      {near.map((run) => (
        <a
          key={run.grid_search_id}
          class="button"
          title={run.grid_search_id}
          href={formatAddress(["compare"], { runs: `${first},${run.grid_search_id}` })}
        >
          {run.name ?? run.grid_search_id} <small>{formatTime(run.started_ms)}</small>
        </a>
      ))}
    </nav>
  );
}

function Adding({ ids, list }: { ids: readonly string[]; list: readonly RunRow[] }) {
  const ordered = others(ids, list);
  return (
    <>
      <Select
        label="Add a run"
        value=""
        options={[
          ["", ordered.length ? "…" : "no other run"],
          ...ordered
            .slice(0, 500)
            .map((run): [string, string] => [
              run.grid_search_id,
              run.name ? `${run.name} (${run.grid_search_id})` : run.grid_search_id,
            ]),
        ]}
        onChange={(id) => id && setView({ runs: [...ids, id] })}
      />
      <a class="button" href={formatAddress(["runs"], writeView({ ...DEFAULTS, runs: ids }))}>
        Choose in the list
      </a>
    </>
  );
}

function Sentences({ found }: { found: Comparison }) {
  const said = found.sentences.filter((one) => one !== null);
  if (!said.length) return null;
  return (
    <section class="card">
      <ul class="said">
        {said.map((one) => (
          <li key={one}>{one}</li>
        ))}
        {/* Of a run without its record the data are not known. */}
        {new Set((found.code.data ?? []).filter((one) => one !== null).map((one) => JSON.stringify(one)))
          .size > 1 && <li>Their data differ: scores on other data say little of each other.</li>}
      </ul>
    </section>
  );
}

/** Of each run that has this score the experiments that are drawn, or averaged. */
const membersOf = (shown: readonly (Side | undefined)[], name: string) =>
  shown.flatMap((side): [string, string][] => {
    const curves = side?.scores.get(name);
    return curves ? [[side!.id, formatIds(curves.keys())]] : [];
  });

interface ChartOf {
  name: string;
  shown: readonly (Side | undefined)[];
  found: Comparison | null;
  labelOf: (id: string) => string;
}

function RunsChart({ name, shown, found, labelOf }: ChartOf) {
  const state = view.value;
  const mode = found?.scores.find((score) => score.name === name)?.mode ?? "max";
  const made = useMemo(
    () => runLines(shown, name, mode, state, dark.value),
    [...shown, shown.length, name, mode, state.each, state.smooth, state.best, state.band, dark.value],
  );
  const build = () => ({
    ...made,
    logx: state.logx,
    logy: state.logy && !state.symlog,
    symlog: state.symlog,
    cut: CUT[state.outliers],
    yZoom: state.ranges[name] ?? null,
    xKind: "epoch" as const,
    zoom: state.zoom,
    chosen: new Set(state.pick),
    dark: dark.value,
    label: (i: number) => {
      const side = shown[i];
      if (!side?.selected) return "";
      const { best_experiment_id, experiments } = side.selected;
      const what =
        experiments.length > 1 && state.each === "mean"
          ? `${experiments.length} experiments`
          : `#${best_experiment_id}`;
      return `${labelOf(side.id)} · ${what}`;
    },
  });
  return (
    <Chart
      title={name}
      build={build}
      csv={isSaved ? null : tableOfRuns(membersOf(shown, name), name)}
      yZoom={state.ranges[name] ?? null}
      onZoomY={(range) => {
        const { [name]: _old, ...others } = view.value.ranges;
        setView({ ranges: range ? { ...others, [name]: range } : others }, false);
      }}
      onCut={() => setView({ outliers: "" })}
      onAll={() => setView({ outliers: "all" })}
    />
  );
}
