/**
 * What the page knows of a run: what the server answered, and what the events since then changed (`reducer.ts`).
 * Whatever a log holds in a field, a field here is of its type.
 */

import type { Curves } from "./curve";
import type { Ranges } from "./epoch_ranges";
import { type Json, type JsonObject, numberOrNull, objectOrNull, text, textOrNull, toNumber } from "./json";
import { defaultMonitor } from "./monitor";
import type { ExperimentRow, GroupRow, Progress, RunDetail, SpeedRow } from "./wire";

export type Best = { min: [number, number] | null; max: [number, number] | null };

export interface Experiment {
  id: number;
  /** Where several runs are shown as one (`pool.ts`): that which it is of, and its number there. */
  run: string | null;
  own: number;
  jobId: string | null;
  fold: number | null;
  round: number;
  /** Of one that trains once more what was selected: from which experiments, and by which score. */
  refit: JsonObject | null;
  hyperparameters: JsonObject;
  status: string;
  stopReason: string | null;
  stopEpoch: number | null;
  error: string | null;
  stacktrace: string | null;
  device: string | null;
  started: number | null;
  finished: number | null;
  progress: Progress | null;
  /** How many epochs were evaluated, and which. */
  epochs: number;
  epochRanges: Ranges;
  /** The sum of its results' seconds; NaN where one of them has none. */
  seconds: number;
  last: Record<string, number>;
  best: Record<string, Best>;
  /** The newest epoch of which there is a checkpoint; -1: none. */
  checkpoint: number;
}

export interface Run {
  id: string;
  name: string | null;
  status: string;
  startedMs: number | null;
  finishedMs: number | null;
  numExperiments: number | null;
  config: JsonObject | null;
  configHash: string | null;
  groups: GroupRow[];
  speeds: SpeedRow[];
  scores: string[];
  monitor: string | null;
  mode: "max" | "min";
  mismatches: number;
  /** The last event that was applied. */
  eventId: number;
  /** Up to which events the server's two answers are: what one of them knows already is not applied to it again. */
  heads: { run: number; experiments: number };
  experiments: Map<number, Experiment>;
  /** Curves that a view asked for, by the score's name. */
  curves: Map<string, Curves>;
  /** The same at every K-th epoch, of runs that are too large for all: means are taken over these. */
  grids: Map<string, Curves>;
  /** Parts of curves that a zoom shows. */
  details: Set<Detail>;
  /** Unix milliseconds at which each epoch was evaluated, and the seconds trained until then; null until a view asks. */
  times: Curves | null;
  seconds: Curves | null;
}

export interface Detail {
  name: string;
  from: number;
  to: number;
  curves: Curves;
}

export function newExperiment(id: number): Experiment {
  return {
    id,
    run: null,
    own: id,
    jobId: null,
    fold: null,
    round: 0,
    refit: null,
    hyperparameters: {},
    status: "INIT",
    stopReason: null,
    stopEpoch: null,
    error: null,
    stacktrace: null,
    device: null,
    started: null,
    finished: null,
    progress: null,
    epochs: 0,
    epochRanges: [],
    seconds: 0,
    last: {},
    best: {},
    checkpoint: -1,
  };
}

/** The state that the server's answers say; `head` is the last event that the rows know. */
export function fromDetail(detail: RunDetail, rows: ExperimentRow[], head: number): Run {
  const run: Run = {
    id: detail.grid_search_id,
    name: textOrNull(detail.name),
    status: text(detail.status),
    startedMs: detail.started_ms,
    finishedMs: detail.finished_ms,
    numExperiments: numberOrNull(detail.num_experiments),
    config: detail.config,
    configHash: textOrNull(detail.config_hash),
    groups: [...detail.groups],
    speeds: [...detail.speeds],
    scores: [...detail.scores],
    monitor: detail.monitor,
    mode: detail.mode,
    mismatches: detail.mismatches.length,
    eventId: Math.min(head, detail.event_id),
    heads: { run: detail.event_id, experiments: head },
    experiments: new Map(rows.map((row) => [row.experiment_id, fromRow(row)])),
    curves: new Map(),
    grids: new Map(),
    details: new Set(),
    times: null,
    seconds: null,
  };
  if (head > detail.event_id) {
    nameScores(run);
    for (const experiment of run.experiments.values()) markRunning(run, experiment);
  }
  return run;
}

function fromRow(row: ExperimentRow): Experiment {
  const numbers = (scores: Record<string, Json>) =>
    Object.fromEntries(Object.entries(scores).map(([name, score]) => [name, toNumber(score)]));
  const best: Record<string, Best> = {};
  for (const [name, { min, max }] of Object.entries(row.best))
    best[name] = { min: min && [min[0], toNumber(min[1])], max: max && [max[0], toNumber(max[1])] };
  return {
    id: row.experiment_id,
    run: null,
    own: row.experiment_id,
    jobId: textOrNull(row.job_id),
    fold: numberOrNull(row.fold),
    round: numberOrNull(row.round) ?? 0,
    refit: objectOrNull(row.refit),
    hyperparameters: row.hyperparameters,
    status: text(row.status),
    stopReason: textOrNull(row.stop_reason),
    stopEpoch: numberOrNull(row.stop_epoch),
    error: textOrNull(row.error),
    stacktrace: textOrNull(row.stacktrace),
    device: textOrNull(row.device),
    started: numberOrNull(row.starting_time),
    finished: numberOrNull(row.finishing_time),
    progress: row.progress,
    epochs: row.epochs,
    epochRanges: row.epoch_ranges.map(([from, to]) => [from, to]),
    seconds: row.seconds ?? NaN,
    last: numbers(row.last),
    best,
    checkpoint: row.last_checkpoint_id,
  };
}

/** The experiments that a group's program trains; none where the log does not say it. */
export const experimentsOf = (group: GroupRow | undefined): readonly number[] =>
  Array.isArray(group?.experiments) ? group.experiments : [];

/** A log without `run_started` runs when one of its experiments does. */
export function markRunning(run: Run, experiment: Experiment): void {
  if (experiment.status === "RUNNING" && run.status === "INIT") run.status = "RUNNING";
}

/** List the scores that there are, in the order of the experiments, and choose the one to rank by. */
export function nameScores(run: Run): void {
  const ordered = [...run.experiments.values()].sort((a, b) => a.id - b.id);
  run.scores = [...new Set(ordered.flatMap(({ best }) => Object.keys(best)))];
  [run.monitor, run.mode] = defaultMonitor(run.scores, run.config);
}
