/** The analysis board: every score of every experiment as live curves. */

import { useMemo } from "preact/hooks";
import { AnalysisControls } from "../analysis_controls";
import { dark, view } from "../app";
import { ChartChips } from "../chart_chips";
import { ColourKeyView, useColouring } from "../colour_key";
import { colourOf } from "../colours";
import { Empty } from "../controls";
import { ActiveFilters, RefitNote } from "../experiment_filters";
import { ExperimentLegend } from "../experiment_legend";
import { filterExperiments, parseRegex } from "../filter";
import { GroupChips } from "../group_chips";
import { groupsOf } from "../groups";
import { modesOf, xKindOf } from "../lines";
import type { Pool } from "../pool";
import type { RunStore } from "../run_store";
import { ScoreChart } from "../score_chart";
import { mayHave, orderScores, rankingScore } from "../score_order";

export function Analysis({ store }: { store: RunStore | Pool }) {
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
  const rankBy = rankingScore(run, state.by);
  const fitting = orderScores(run.scores, rankBy).filter((name) => !wanted?.ok || wanted.value(name));
  const pinned = state.pin.filter((name) => run.scores.includes(name) && name !== state.x);
  const unpinned = fitting.filter((name) => !pinned.includes(name) && name !== state.x); // over itself: a straight line
  const names = experiments.length ? unpinned.filter((name) => mayHave(experiments, name)) : unpinned;
  const without = unpinned.length - names.length;
  const groups = state.group ? groupsOf(experiments, state.group, state.bins) : [];
  const { key: colourKey } = useColouring(store, experiments);
  return (
    <div class="page">
      <AnalysisControls run={run} experiments={experiments} rankBy={rankBy} />
      <ActiveFilters shown={experiments} run={run} />
      <ChartChips only={["best", "outliers", "ranges", "hide", "hideGroups"]} />
      {state.group && <RefitNote run={run} />}
      {state.group && <GroupChips groups={groups} rgbOf={(i) => colourOf(i, dark.value)} />}
      {!state.group && colourKey && <ColourKeyView colourKey={colourKey} />}
      {xKindOf(state, experiments) !== state.x && (
        <p class="none">
          Means are taken at equal epochs
          {state.x.includes("/") ? "" : `, which end at different ${state.x}s here`}: x is the epoch.
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
            {[...pinned, ...names].map((name) => (
              <ScoreChart key={name} store={store} name={name} experiments={experiments} />
            ))}
            {fitting.length === 0 && <p class="none">No score's name fits this expression.</p>}
          </div>
          <ExperimentLegend store={store} experiments={experiments} rankBy={rankBy} version={version} />
        </div>
      )}
    </div>
  );
}
