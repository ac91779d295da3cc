/** What a run has come to, at first sight: the verdict in words, the best so far, what matters, and the model. */

import { dark, runAddress, view } from "../app";
import { BestChart } from "../best_chart";
import { Command, Model } from "../best_model";
import { ChartChips } from "../chart_chips";
import { colourOf, coloursOf, css } from "../colours";
import { Bar, Empty, Score, Short } from "../controls";
import { candidates, hyperparameterNames } from "../filter";
import { exactValue, formatNumber } from "../format";
import { labelOf } from "../labels";
import { scoreMode } from "../lines";
import type { Experiment, Run } from "../run_state";
import type { RunStore } from "../run_store";
import { ScoreChoice } from "../score_choice";
import { rankingScore } from "../score_order";
import { useVerdict } from "../verdict";
import type { Verdict } from "../wire";

const MOST_COLUMNS = 6;

const plural = (count: number, one: string) => `${count} ${one}${count === 1 ? "" : "s"}`;

/** Mean and deviation of the best experiment's seeds, or what the folds estimate. */
function Spread({ verdict: { candidate, estimate } }: { verdict: Verdict }) {
  if (estimate && estimate.mean !== null)
    return (
      <p>
        <b>
          {formatNumber(estimate.mean)}
          {estimate.std !== null && ` ± ${formatNumber(estimate.std)}`}
        </b>{" "}
        {estimate.score} over {plural(estimate.num_folds!, "fold")}, {estimate.kind.replace(/_/g, " ")}
      </p>
    );
  if (!candidate || candidate.std === null) return null;
  const { num, num_scored: scored, over, interval } = candidate;
  return (
    <p>
      <b>
        {formatNumber(candidate.mean)} ± {formatNumber(candidate.std)}
      </b>{" "}
      over {scored < num && `${scored} of `}its {plural(num, over)}
      {interval && (
        <small>
          {" "}
          95 % interval {formatNumber(interval[0])} to {formatNumber(interval[1])}
        </small>
      )}
    </p>
  );
}

const ABOUT = ["next", "estimate", "test", "influence", "learning"];

function Said({ run, verdict, by, mode }: { run: Run; verdict: Verdict; by: string; mode: "max" | "min" }) {
  const { best, sentences } = verdict;
  const said = ABOUT.map((about) => sentences[about]).filter((text) => text !== undefined);
  return (
    <section class="card stretch verdict" aria-label="Verdict">
      {best ? (
        <>
          <p class="score">
            <strong>
              <Score value={best.score} />
            </strong>
            <span>
              best {verdict.monitor}
              {verdict.status === "RUNNING" && " so far"}
              <br />
              <a href={runAddress(run.id, "experiments", String(best.experiment_id))}>
                experiment {best.experiment_id}
              </a>
              , epoch {best.epoch}
            </span>
          </p>
          <Spread verdict={verdict} />
        </>
      ) : (
        <h2>{verdict.headline}</h2>
      )}
      {verdict.resume && (
        <>
          <p class="warn">{sentences.resume!.replace(`: ${verdict.resume}`, "")}, where it was started:</p>
          <Command text={verdict.resume} what="the command that resumes the run" />
        </>
      )}
      {verdict.failures.map(({ kind, number, experiments: [first] }) => (
        <p key={kind}>
          <span class="bad">
            {number} failed: {kind}.
          </span>{" "}
          <a href={runAddress(run.id, "experiments", String(first))}>Why experiment {first} did</a>
        </p>
      ))}
      {said.length > 0 && (
        <ul>
          {said.map((text) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      )}
      {run.scores.length > 1 && (
        <div class="bartop controls">
          <ScoreChoice label="Judged by" scores={run.scores} by={by} mode={mode} />
        </div>
      )}
    </section>
  );
}

function Top({ store, verdict, top }: { store: RunStore; verdict: Verdict; top: readonly Experiment[] }) {
  const { run } = store;
  const all = candidates(run.experiments.values());
  const order = verdict.influence.map(({ hyperparameter }) => hyperparameter);
  const differs = (name: string) =>
    new Set(all.map(({ hyperparameters }) => JSON.stringify(hyperparameters[name]))).size > 1;
  const names = [...new Set([...order, ...hyperparameterNames(top)])].filter(differs).slice(0, MOST_COLUMNS);
  const places = coloursOf(
    top.map(({ id }) => id),
    [],
  );
  const hasFolds = top.some(({ fold }) => fold !== null);
  return (
    <section class="card stretch">
      <h2>{top.length > 1 ? `The best ${top.length}` : "The best"}</h2>
      <div class="sideways" tabIndex={0} role="group" aria-label="The best experiments">
        <table class="plain">
          <thead>
            <tr>
              <th>Experiment</th>
              <th>{verdict.monitor}</th>
              <th>epoch</th>
              {hasFolds && <th>fold</th>}
              {names.map((name) => (
                <th key={name} title={name}>
                  {name.replace(/^.*\./, "")}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {top.map((e, i) => (
              <tr key={e.id}>
                <th>
                  <span class="key">
                    <i style={{ background: css(colourOf(places(e.id), dark.value)) }} />
                    <a href={runAddress(run.id, "experiments", String(e.id))}>{e.id}</a>
                  </span>
                </th>
                <td>
                  <Score value={verdict.top[i]?.score} />
                </td>
                <td>{verdict.top[i]?.epoch}</td>
                {hasFolds && <td>{e.fold}</td>}
                {names.map((name) => {
                  const value = e.hyperparameters[name];
                  return (
                    <td key={name}>
                      <Short text={labelOf(run.experiments, name)(value)} exact={exactValue(value)} />
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <a href={runAddress(run.id, "selection")}>Choose and compare</a>
    </section>
  );
}

function Influence({ run, verdict }: { run: Run; verdict: Verdict }) {
  if (!verdict.influence.length || !verdict.best) return null;
  return (
    <section class="card stretch">
      <h2>What matters for {verdict.monitor}</h2>
      <table class="plain">
        <tbody>
          {verdict.influence.slice(0, 2 * MOST_COLUMNS).map(({ hyperparameter, share }) => (
            <tr key={hyperparameter}>
              <th class="long">{hyperparameter}</th>
              <td class="grow">
                <span class="track">
                  <span style={{ width: `${100 * (share ?? 0)}%` }} />
                </span>
              </td>
              <td>{share === null ? "too few" : `${Math.round(100 * share)} %`}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="none">
        The share of the differences in rank that each alone explains.{" "}
        <a href={runAddress(run.id, "hyperparameters")}>How they hang together</a>
      </p>
    </section>
  );
}

function Progress({ verdict }: { verdict: Verdict }) {
  const { sentences, progress } = verdict;
  const told = [sentences.experiments, sentences.runs_on].filter((text) => text !== undefined);
  return (
    <section class="card stretch">
      <h2>Where it stands</h2>
      {progress.epochs_planned > 0 && (
        <div class="key">
          <small>epochs</small>
          <Bar label="epochs" value={progress.epochs_done} of={progress.epochs_planned} />
        </div>
      )}
      {told.map((text) => (
        <p key={text}>{text}</p>
      ))}
    </section>
  );
}

export function Overview({ store }: { store: RunStore }) {
  void store.version.value;
  const { run } = store;
  const state = view.value;
  const by = rankingScore(run, state.by);
  const mode = state.mode || scoreMode(run, by);
  const { verdict, error, retry } = useVerdict(store, state.by && by, state.mode);
  if (!verdict)
    return error ? (
      <Empty title="There is no verdict on this run">
        <p>{error.message}</p>
        <button type="button" onClick={retry}>
          Try again
        </button>
        <a href={runAddress(run.id, "flow")}>All experiments</a>
      </Empty>
    ) : (
      <Empty title="Loading…" />
    );
  const top = verdict.top
    .map(({ experiment_id }) => run.experiments.get(experiment_id))
    .filter((one) => one !== undefined);
  return (
    <div class="page sheet overview">
      <ChartChips ungrouped />
      {error && (
        <p class="bad" role="status">
          {error.message}{" "}
          <button type="button" class="link" onClick={retry}>
            Try again
          </button>
        </p>
      )}
      <div class="pair">
        <Said run={run} verdict={verdict} by={by} mode={mode} />
        {top.length > 0 && <BestChart store={store} by={by} mode={mode} top={top} />}
        {top.length > 0 && <Top store={store} verdict={verdict} top={top} />}
        <Model run={run} verdict={verdict} />
        <Influence run={run} verdict={verdict} />
        <Progress verdict={verdict} />
      </div>
    </div>
  );
}
