/** How hyperparameters and scores hang together: importance, scatter, and parallel coordinates. */

import { useMemo } from "preact/hooks";
import { dark, focused, setView, view } from "../app";
import { token } from "../axes";
import type { Scored } from "../canvas";
import { css, scaleColour } from "../colours";
import { Empty, Field, Select } from "../controls";
import { ActiveFilters, FilterField, RefitNote } from "../experiment_filters";
import { candidates, cellOf, filterExperiments, hyperparameterNames, NONE, parseCondition } from "../filter";
import { exactValue, formatNumber } from "../format";
import { type Finished, historyOf } from "../history";
import { isLong } from "../json";
import { cellLabelOf } from "../labels";
import { describe, modesOf, scoreMode } from "../lines";
import { Parallel } from "../parallel";
import type { Pool } from "../pool";
import type { Run } from "../run_state";
import type { RunStore } from "../run_store";
import { evenScale, scaleOf } from "../scales";
import { Scatter, type ScatterAxis } from "../scatter";
import { ScoreChoice } from "../score_choice";
import { rankingScore } from "../score_order";
import { MAX_BINS, rankCorrelation, ranks, varianceExplained } from "../statistics";
import { TwoAtOnce } from "../two_at_once";

function Pointed({ scored, by }: { scored: readonly Scored[]; by: string }) {
  const one = scored.find(({ experiment }) => experiment.id === focused.value);
  return (
    <p class="pointed" aria-live="polite">
      {one
        ? `${describe(one.experiment, exactValue)} · ${by} ${one.score === null ? NONE : formatNumber(one.score, 5)}`
        : "Point at a line or dot to see its experiment; click to choose it."}
    </p>
  );
}

interface HistoryProps {
  run: Run;
  scored: readonly Scored[];
  mode: "max" | "min";
  score: ScatterAxis;
  colour: (score: number | null) => string;
}

/** How soon the best was found: each finished experiment, and the best of those before it. */
function History({ run, scored, mode, score, colour }: HistoryProps) {
  const { history } = view.value;
  const finished = useMemo(() => historyOf(scored, mode, run.startedMs), [scored, mode, run.startedMs]);
  const byId = new Map(finished.map((one) => [one.one.experiment.id, one]));
  const x = (one: Finished) => (history === "time" ? one.seconds : one.count);
  const last = finished.at(-1);
  const first = history === "time" ? 0 : 1;
  return (
    <section class="card stretch">
      <h2>Best so far</h2>
      <div class="controls">
        <Select
          label="After"
          value={history}
          options={[
            ["count", "so many experiments"],
            ["time", "the time"],
          ]}
          onChange={(next) => setView({ history: next })}
        />
      </div>
      {last ? (
        <Scatter
          title={`${score.name} after ${history === "time" ? "the time" : "experiments that finished"}`}
          x={{
            name: history === "time" ? "time" : "experiments finished",
            scale: evenScale(first, Math.max(first, x(last)), history === "time" ? "time" : "count"),
            of: ({ experiment }) => x(byId.get(experiment.id)!),
          }}
          y={score}
          scored={finished.map(({ one }) => one)}
          colour={colour}
          stairs={finished.filter(({ best }) => best !== null).map((one) => [x(one), one.best] as const)}
          height={240}
        />
      ) : (
        <p class="none">No experiment has finished yet.</p>
      )}
      {last && finished.length < scored.length && (
        <p class="none">{scored.length - finished.length} that still train, or never ended, are not in it.</p>
      )}
    </section>
  );
}

export function Hyperparameters({ store }: { store: RunStore | Pool }) {
  const version = store.version.value;
  const { run } = store;
  const state = view.value;
  const by = rankingScore(run, state.by);
  const mode = state.mode || scoreMode(run, by);
  const swept = hyperparameterNames(run.experiments.values());
  const { fits, scored, scores, importance, scales } = useMemo(() => {
    const fits = filterExperiments(run.experiments.values(), state.q, state.columns, modesOf(run));
    const pool = candidates(fits);
    const scored: Scored[] = [];
    for (const experiment of pool) {
      const score = state.at === "best" ? experiment.best[by]?.[mode]?.[1] : experiment.last[by];
      scored.push({ experiment, score: score !== undefined && Number.isFinite(score) ? score : null });
    }
    const finite = scored.filter(({ score }) => score !== null);
    const scores = finite.map(({ score }) => score!);
    const importance = swept
      .map((name) => {
        const cells = finite.map(({ experiment }) => {
          const cell = cellOf(experiment, name);
          return isLong(cell) ? Number(cell) : cell;
        });
        const numeric = cells.every((cell) => typeof cell === "number");
        return {
          name,
          share: varianceExplained(cells, scores),
          correlation: numeric ? rankCorrelation(cells as number[], scores) : NaN,
        };
      })
      .sort((a, b) => (b.share || 0) - (a.share || 0));
    const scales = [
      ...swept.map((name) =>
        scaleOf(
          scored.map(({ experiment }) => cellOf(experiment, name)),
          cellLabelOf(run.experiments, name),
        ),
      ),
      scaleOf(scored.map(({ score }) => score)),
    ];
    return { fits, scored, scores, importance, scales };
  }, [run, version, state.q, state.columns, by, mode, state.at]);
  const left = scored.length - scores.length;
  const score: ScatterAxis = {
    name: state.at === "best" ? `best ${by}` : by,
    scale: scales[swept.length]!,
    of: (one) => one.score,
  };
  // By rank: one diverged experiment would otherwise make all others look alike.
  const shares = new Map(
    ranks(scores).map((rank, i) => [scores[i]!, scores.length > 1 ? (rank - 1) / (scores.length - 1) : 1]),
  );
  const colour = (score: number | null) => {
    if (score === null) return token("--quiet");
    const share = shares.get(score) ?? 0;
    return css(scaleColour(mode === "max" ? share : 1 - share, dark.value));
  };
  const numeric = (name: string) =>
    scored.some(({ experiment }) => typeof experiment.hyperparameters[name] === "number");
  return (
    <div class="page sheet">
      <div class="bartop controls">
        <FilterField hidden={false} />
        <ScoreChoice label="Score" scores={run.scores} by={by} mode={mode} />
        <Select
          label="Of each experiment"
          value={state.at}
          options={[
            ["best", "the best epoch"],
            ["last", "the latest epoch"],
          ]}
          onChange={(at) => setView({ at })}
        />
      </div>
      <ActiveFilters shown={fits} run={run} />
      <RefitNote run={run} />
      {left > 0 && scores.length > 0 && (
        <p class="none">
          {left === 1 ? "1 of them has" : `${left} of them have`} no finite {by}: grey, at “{NONE}” of its
          axis.
        </p>
      )}
      {!swept.length || !scores.length ? (
        <Empty
          title={
            !swept.length
              ? "Nothing is swept in this run"
              : fits.length
                ? "No scores yet"
                : "No experiment fits the filters"
          }
        />
      ) : (
        <>
          <Pointed scored={scored} by={by} />
          <section class="card stretch">
            <h2>Parallel coordinates</h2>
            <p class="none">
              From blue, the worst rank, to orange, the best. Drag along an axis to keep a part of it.
            </p>
            <Parallel
              scored={scored}
              names={swept}
              scales={scales}
              by={by}
              colour={colour}
              onRange={(axis, condition) => {
                const best = mode === scoreMode(run, by) ? `best ${by}` : ""; // what the filter's "best" means
                const column = swept[axis] ?? (state.at === "best" ? best : by);
                if (column) setView({ columns: { ...view.value.columns, [column]: condition } });
              }}
            />
            <div class="axes">
              {swept.map((name) => (
                <Field
                  key={name}
                  label={name}
                  value={state.columns[name] ?? ""}
                  placeholder={numeric(name) ? "0.1..0.5" : "text"}
                  check={parseCondition}
                  onCommit={(text) => setView({ columns: { ...view.value.columns, [name]: text } })}
                />
              ))}
            </div>
          </section>
          <section class="card stretch">
            <h2>Importance for {by}</h2>
            <p class="none">
              The share of the ranks' variance that the value alone explains (in at most {MAX_BINS} bins,
              corrected for their number), and Spearman's rank correlation. Neither sees interactions.
            </p>
            <table class="plain">
              <tbody>
                {importance.map(({ name, share, correlation }) => (
                  <tr key={name}>
                    <th>{name}</th>
                    <td class="grow">
                      <span class="track">
                        <span style={{ width: `${(share || 0) * 100}%` }} />
                      </span>
                    </td>
                    <td>{Number.isNaN(share) ? "too few" : `${Math.round(share * 100)} %`}</td>
                    <td>
                      <small>
                        {Number.isNaN(correlation)
                          ? ""
                          : `rank correlation ${correlation > 0 ? "+" : "−"}${Math.abs(correlation).toFixed(2)}`}
                      </small>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </section>
          <TwoAtOnce
            run={run}
            scored={scored}
            by={by}
            mode={mode}
            names={importance.map(({ name }) => name)}
            colour={colour}
          />
          <History run={run} scored={scored} mode={mode} score={score} colour={colour} />
          <div class="charts">
            {swept.map((name, i) => (
              <Scatter
                key={name}
                title={name}
                x={{ name, scale: scales[i]!, of: ({ experiment }) => cellOf(experiment, name) }}
                y={score}
                scored={scored}
                colour={colour}
              />
            ))}
          </div>
        </>
      )}
    </div>
  );
}
