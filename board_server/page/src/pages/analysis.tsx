/** The analysis board: every score of every experiment as live curves. */

import { useSignalEffect } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { formatIds } from "../address";
import { dark, focused, runAddress, setView, togglePick, view } from "../app";
import { ChartChips } from "../chart_chips";
import { colourOf, coloursOf, css } from "../colours";
import { Empty, Field, Menu, Score, Select, Slider, Toggle } from "../controls";
import { ActiveFilters, FilterField, RefitNote } from "../experiment_filters";
import { filterExperiments, hyperparameterNames, parseRegex, sortExperiments } from "../filter";
import { exactValue } from "../format";
import { labelOf } from "../labels";
import { describe, groupsOf, modesOf, scoreMode, xKindOf } from "../lines";
import type { Experiment, Run } from "../run_state";
import type { RunStore } from "../run_store";
import { ScoreChart } from "../score_chart";
import { mayHave, orderScores, rankingScore } from "../score_order";
import { Table } from "../table";

const NAMED = 24; // of so many groups the colours are named

interface LegendProps {
  run: Run;
  experiments: readonly Experiment[];
  rankBy: string;
  version: number;
}

/** The experiments beside the charts: a legend, and the way to choose some by keyboard. */
function Legend({ run, experiments, rankBy, version }: LegendProps) {
  const { pick, group } = view.value;
  const picked = new Set(pick);
  const mode = scoreMode(run, rankBy);
  const ranked = useMemo(
    () => sortExperiments([...experiments], `${mode === "max" ? "-" : ""}best ${rankBy}`, () => mode),
    [experiments, rankBy, mode, version],
  );
  const placeOf = useMemo(
    () =>
      coloursOf(
        experiments.map(({ id }) => id),
        pick,
      ),
    [experiments, formatIds(pick)],
  );
  // What is the same for all tells nothing.
  const varied = useMemo(
    () =>
      hyperparameterNames(experiments).filter(
        (name) => new Set(experiments.map((e) => JSON.stringify(e.hyperparameters[name]))).size > 1,
      ),
    [experiments],
  );
  const box = useRef<HTMLDivElement>(null);
  useSignalEffect(() => {
    const id = view.value.group ? null : focused.value;
    for (const row of box.current?.querySelectorAll(".row.focused") ?? []) row.classList.remove("focused");
    if (id !== null)
      box.current?.querySelector(`[data-experiment="${id}"]`)?.closest(".row")?.classList.add("focused");
  });
  return (
    <div class="legend" ref={box}>
      <Table
        label="Experiments, best first"
        rows={ranked}
        rowHeight={44}
        keyOf={(e) => e.id}
        onHover={(e) => {
          focused.value = group ? null : (e?.id ?? null);
        }}
        onOpen={(e) => togglePick(e.id)}
        rowClass={(e) => (picked.has(e.id) ? "picked" : "")}
        columns={[
          {
            id: "name",
            label: "",
            title: "Experiment",
            width: 130,
            cell: (e) => (
              <span class="key" data-experiment={e.id} title={describe(e, exactValue)}>
                <input
                  type="checkbox"
                  aria-label={`Choose experiment ${e.id}`}
                  checked={picked.has(e.id)}
                  onChange={() => togglePick(e.id)}
                />
                {!group && <i style={{ background: css(colourOf(placeOf(e.id), dark.value)) }} />}
                <a href={runAddress(run.id, "experiments", String(e.id))}>{e.id}</a>
                <small>
                  {varied.map((name) => labelOf(run.experiments, name)(e.hyperparameters[name])).join(" · ")}
                </small>
              </span>
            ),
          },
          {
            id: "best",
            label: "",
            title: `${mode} ${rankBy}`,
            width: 130,
            numeric: true,
            cell: (e) => <Score value={e.best[rankBy]?.[mode]?.[1]} />,
          },
        ]}
      />
    </div>
  );
}

export function Analysis({ store }: { store: RunStore }) {
  const version = store.version.value;
  const { run } = store;
  const state = view.value;
  const experiments = useMemo(
    () => filterExperiments(run.experiments.values(), state.q, state.columns, modesOf(run)),
    // Columns such as the status change with each event; without filters only new experiments do.
    [
      run,
      state.q,
      state.columns,
      state.q || Object.keys(state.columns).length ? version : run.experiments.size,
    ],
  );
  const wanted = state.scores ? parseRegex(state.scores) : null;
  const swept = hyperparameterNames(run.experiments.values());
  const rankBy = rankingScore(run, state.by);
  const fitting = orderScores(run.scores, rankBy).filter((name) => !wanted?.ok || wanted.value(name));
  const names = experiments.length ? fitting.filter((name) => mayHave(experiments, name)) : fitting;
  const without = fitting.length - names.length;
  const choices: [string, string][] = [
    ["", "one line per experiment"],
    ["(all)", "mean of all"],
    ...swept.map((name): [string, string] => [name, `mean by ${name}`]),
  ];
  if (experiments.some((e) => e.fold !== null)) choices.push(["fold", "mean by fold"]);
  const groups = state.group ? groupsOf(experiments, state.group) : [];
  return (
    <div class="page">
      <div class="bartop controls">
        <FilterField hidden={false} />
        <Field
          label="Scores"
          value={state.scores}
          placeholder="regex: loss, ^val/"
          check={(text) => parseRegex(text)}
          onCommit={(scores) => setView({ scores })}
        />
        <Select
          label="Lines"
          value={state.group}
          options={choices}
          onChange={(group) => setView({ group })}
        />
        {state.group && (
          <Select
            label="Band"
            value={state.band}
            options={[
              ["std", "± one deviation"],
              ["range", "least to greatest"],
              ["none", "none"],
            ]}
            onChange={(band) => setView({ band })}
          />
        )}
        <Select
          label="x"
          value={state.x}
          options={[
            ["epoch", "epoch"],
            ["step", "step"],
            ["time", "time"],
          ]}
          onChange={(x) => setView({ x, zoom: null })}
        />
        <Slider
          label="Smoothing"
          value={state.smooth}
          max={0.99}
          step={0.01}
          onChange={(smooth) => setView({ smooth })}
        />
        <Menu label="More">
          <Select
            label="Values"
            value={state.best}
            options={[
              ["", "as logged"],
              ["auto", "best so far"],
              ["max", "greatest so far"],
              ["min", "least so far"],
            ]}
            onChange={(best) => setView({ best })}
          />
          <Select
            label="Range of y"
            value={state.outliers}
            options={[
              ["", "all values"],
              ["cut", "without outliers"],
            ]}
            onChange={(outliers) => setView({ outliers })}
          />
          <Select
            label="Rank experiments by"
            value={rankBy}
            options={orderScores(run.scores, rankBy).map((name) => [name, name])}
            onChange={(by) => setView({ by })}
          />
        </Menu>
        <div class="toggles">
          <Toggle label="log x" value={state.logx} onChange={(logx) => setView({ logx })} />
          <Toggle label="log y" value={state.logy} onChange={(logy) => setView({ logy })} />
          {state.zoom && (
            <button type="button" onClick={() => setView({ zoom: null }, false)}>
              All of x
            </button>
          )}
        </div>
      </div>
      <ActiveFilters shown={experiments} run={run} />
      <ChartChips only={["best", "outliers", "ranges"]} />
      {state.group && <RefitNote run={run} />}
      {state.group && (
        <p class="active">
          {groups.slice(0, NAMED).map(([label, members], i) => (
            <span class="key" key={label}>
              <i style={{ background: css(colourOf(i, dark.value)) }} />
              {label} <small>{members.length}</small>
            </span>
          ))}
          {groups.length > NAMED && <small>and {groups.length - NAMED} more</small>}
        </p>
      )}
      {xKindOf(state, experiments) !== state.x && (
        <p class="none">
          Means are taken at equal epochs, which end at different {state.x}s here: x is the epoch.
        </p>
      )}
      {run.scores.length === 0 ? (
        <Empty title="No results yet">
          <p>Curves appear with the first evaluated epoch.</p>
        </Empty>
      ) : (
        <div class="split">
          <div class="charts">
            {without > 0 && (
              <p class="none">
                {without === 1 ? "1 score" : `${without} scores`} that none of these experiments has{" "}
                {without === 1 ? "is" : "are"} left out.
              </p>
            )}
            {names.map((name) => (
              <ScoreChart key={name} store={store} name={name} experiments={experiments} />
            ))}
            {fitting.length === 0 && <p class="none">No score's name fits this expression.</p>}
          </div>
          <Legend run={run} experiments={experiments} rankBy={rankBy} version={version} />
        </div>
      )}
    </div>
  );
}
