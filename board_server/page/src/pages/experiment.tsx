/** One experiment: how far it is, its curves, its whole pipeline, its checkpoints, and why it failed if it did. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { formatIds } from "../address";
import { runAddress, view } from "../app";
import { ChartChips } from "../chart_chips";
import { configOf } from "../configs";
import { Bar, Empty, Score, Status } from "../controls";
import { epochOf } from "../filter";
import { formatDuration, formatTime, formatValue } from "../format";
import { type JsonObject, writeJson } from "../json";
import { Pipeline } from "../pipeline";
import { Recorded } from "../recorded";
import type { RunStore } from "../run_store";
import { isSaved } from "../saved";
import { ScoreChart } from "../score_chart";
import { mayHave, orderScores } from "../score_order";
import { Tree } from "../tree";
import { type CheckpointRow, encode, getJson } from "../wire";

/** How a kept model is read, here and where the run's folder is. */
function Loading({ run, id, epoch }: { run: string; id: number; epoch: number }) {
  return (
    <details>
      <summary>How to load a model</summary>
      <pre tabIndex={0}>
        {`# Python, of what was downloaded: arrays by their names
from safetensors.numpy import load_file
arrays = load_file("${run}-${id}-${epoch}-model.safetensors")

# where the run's folder is: the same file
python -m mlgym_jax.export event_storage/${run} \\
  --experiment=${id} --epoch=${epoch} --output=model.safetensors`}
      </pre>
    </details>
  );
}

/** What was raised stands at the end of a stack trace. */
const toEnd = (pre: HTMLElement | null) => pre?.scrollTo(0, pre.scrollHeight);

export function ExperimentPage({ store, id }: { store: RunStore; id: number }) {
  void store.version.value;
  void view.value;
  const { run } = store;
  const e = run.experiments.get(id);
  const [config, setConfig] = useState<JsonObject | null>(null);
  const [checkpoints, setCheckpoints] = useState<CheckpointRow[] | null>(null);
  const only = useMemo(() => (e ? [e] : []), [e]);
  useEffect(() => {
    void configOf(store, { id, own: id, run: null }).then(setConfig);
  }, [id, config ? null : e?.status, config ? null : e?.epochs]);
  useEffect(() => {
    getJson<CheckpointRow[]>(`checkpoint_list/${encode(run.id)}/${id}`).then(setCheckpoints, () =>
      setCheckpoints([]),
    );
  }, [id, e?.checkpoint, e?.status]);
  if (!e)
    return (
      <Empty title={`This run has no experiment ${id}`}>
        <a href={runAddress(run.id, "flow")}>All experiments</a>
      </Empty>
    );
  const names = orderScores(run.scores, run.monitor).filter((name) => mayHave([e], name));
  const best = run.monitor === null ? null : e.best[run.monitor]?.[run.mode];
  const isBest = ({ epoch }: CheckpointRow) => epoch === best?.[0];
  const files = `grid_searches/${encode(run.id)}/${id}`;
  const neighbours = [...run.experiments.keys()].sort((a, b) => a - b);
  const at = neighbours.indexOf(id);
  const tried = {
    ...Object.fromEntries(
      Object.entries(e.hyperparameters).map(([name, value]) => [
        name,
        Array.isArray(value) ? formatValue(value) : value, // [32], as in all tables
      ]),
    ),
    ...(e.fold === null ? {} : { fold: e.fold }),
    ...(e.round ? { round: e.round } : {}),
    ...(e.refit ? { "refit of experiments": formatIds(e.refit.experiments as number[]) } : {}),
  };
  return (
    <div class="page sheet">
      <div class="bartop">
        <Status status={e.status} note={e.stopReason} />
        {e.progress && <Bar label="epoch" value={epochOf(e)} of={e.progress.num_epochs} />}
        {e.started && <small>started {formatTime(e.started)}</small>}
        {e.seconds > 0 && <small>trained for {formatDuration(e.seconds * 1000)}</small>}
        {e.device && <small>{e.device}</small>}
        <span class="space" />
        <span class="key">
          {neighbours[at - 1] !== undefined && (
            <a href={runAddress(run.id, "experiments", String(neighbours[at - 1]))}>← {neighbours[at - 1]}</a>
          )}
          {neighbours[at + 1] !== undefined && (
            <a href={runAddress(run.id, "experiments", String(neighbours[at + 1]))}>{neighbours[at + 1]} →</a>
          )}
        </span>
        <a class="button" href={runAddress(run.id, "experiments", String(id), "model-card")}>
          Model card
        </a>
      </div>
      {e.error && (
        <section class="card failure" role="alert">
          <h2>{e.error}</h2>
          {e.stacktrace && (
            <pre tabIndex={0} ref={toEnd}>
              {e.stacktrace}
            </pre>
          )}
        </section>
      )}
      <div class="pair beside">
        <section class="card">
          <h2>Scores</h2>
          <div class="sideways" tabIndex={0} role="group" aria-label="Scores">
            <table class="plain">
              <thead>
                <tr>
                  <th>Score</th>
                  <th>latest</th>
                  <th>least</th>
                  <th>greatest</th>
                </tr>
              </thead>
              <tbody>
                {names.map((name) => (
                  <tr key={name}>
                    <th>
                      {name} {name === run.monitor && <small class="tag">ranked by</small>}
                    </th>
                    <td>
                      <Score value={e.last[name]} />
                    </td>
                    {(["min", "max"] as const).map((mode) => {
                      const best = e.best[name]?.[mode];
                      return (
                        <td key={mode}>
                          {best && (
                            <>
                              <Score value={best[1]} /> <small>@ {best[0]}</small>
                            </>
                          )}
                        </td>
                      );
                    })}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
        {Object.keys(tried).length > 0 && (
          <section class="card">
            <h2>Hyperparameters</h2>
            <Tree value={tried} />
          </section>
        )}
        <section class="card">
          <h2>Checkpoints</h2>
          {checkpoints?.length === 0 && (
            <p class="none">{isSaved ? "This file holds none: a board has them." : "None is kept."}</p>
          )}
          {checkpoints?.map(({ epoch, checkpoints: resources }) => (
            <p key={epoch} class="active">
              epoch {epoch}
              {epoch === best?.[0] && <small class="tag">best {run.monitor}</small>}
              {resources.map((resource) => (
                <a
                  key={resource}
                  class="chip"
                  download
                  href={`checkpoints/${encode(run.id)}/${id}/${epoch}/${resource}`}
                >
                  ↓ {resource}
                </a>
              ))}
            </p>
          ))}
          {checkpoints && checkpoints.length > 0 && (
            <Loading run={run.id} id={id} epoch={(checkpoints.find(isBest) ?? checkpoints.at(-1)!).epoch} />
          )}
          {!isSaved && (
            <p class="active">
              {["experiment_config.json", "model_card.json", "model_card.md"].map((file) => (
                <a key={file} class="file" download href={`${files}/${file}`}>
                  {file}
                </a>
              ))}
            </p>
          )}
        </section>
      </div>
      <section>
        <h2>Curves</h2>
        <ChartChips ungrouped />
        <div class="charts">
          {names.map((name) => (
            <ScoreChart key={name} store={store} name={name} experiments={only} height={190} ungrouped />
          ))}
        </div>
      </section>
      <section>
        <h2>Pipeline</h2>
        {config ? (
          <Pipeline config={config} swept={e.hyperparameters} />
        ) : (
          <p class="none">Its config is not there yet.</p>
        )}
      </section>
      <Recorded run={run.id} id={id} moment={`${e.status} ${e.checkpoint}`} />
      {config && (
        <details class="card">
          <summary>The whole config</summary>
          <pre tabIndex={0}>{writeJson(config)}</pre>
        </details>
      )}
    </div>
  );
}
