/**
 * The state of a run as a function of its events, in the browser: the same rules as the log's projection in Python.
 * `applyEvent` changes the state in place (typed arrays would be too large to copy) and reads nothing else.
 */

import type { Curves } from "./curve";
import type { ExperimentRow, GroupRow, Json, JsonObject, LogEvent, Progress, RunDetail } from "./wire";
import { toNumber } from "./wire";

export type Best = { min: [number, number] | null; max: [number, number] | null };

export interface Experiment {
  id: number;
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
  epochs: number;
  /** The sum of its results' seconds; NaN where one of them has none. */
  seconds: number;
  last: Record<string, number>;
  best: Record<string, Best>;
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
  scores: string[];
  monitor: string | null;
  mode: "max" | "min";
  mismatches: number;
  eventId: number;
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
    seconds: 0,
    last: {},
    best: {},
    checkpoint: -1,
  };
}

export function fromDetail(detail: RunDetail, rows: ExperimentRow[], eventId: number): Run {
  return {
    id: detail.grid_search_id,
    name: detail.name,
    status: detail.status,
    startedMs: detail.started_ms,
    finishedMs: detail.finished_ms,
    numExperiments: detail.num_experiments,
    config: detail.config,
    configHash: detail.config_hash,
    groups: [...detail.groups],
    scores: [...detail.scores],
    monitor: detail.monitor,
    mode: detail.mode,
    mismatches: detail.mismatches.length,
    eventId,
    experiments: new Map(rows.map((row) => [row.experiment_id, fromRow(row)])),
    curves: new Map(),
    grids: new Map(),
    details: new Set(),
    times: null,
    seconds: null,
  };
}

function fromRow(row: ExperimentRow): Experiment {
  const numbers = (scores: Record<string, Json>) =>
    Object.fromEntries(Object.entries(scores).map(([name, score]) => [name, toNumber(score)]));
  const best: Record<string, Best> = {};
  for (const [name, { min, max }] of Object.entries(row.best))
    best[name] = { min: min && [min[0], toNumber(min[1])], max: max && [max[0], toNumber(max[1])] };
  return {
    id: row.experiment_id,
    jobId: row.job_id,
    fold: row.fold,
    round: row.round,
    refit: row.refit ?? null,
    hyperparameters: row.hyperparameters,
    status: row.status,
    stopReason: row.stop_reason,
    stopEpoch: row.stop_epoch,
    error: row.error,
    stacktrace: row.stacktrace,
    device: row.device,
    started: row.starting_time,
    finished: row.finishing_time,
    progress: row.progress,
    epochs: row.epochs,
    seconds: row.seconds ?? NaN,
    last: numbers(row.last),
    best,
    checkpoint: row.last_checkpoint_id,
  };
}

/** Apply one event; an id that was applied already changes nothing. Return whether it was new. */
export function applyEvent(run: Run, eventId: number, event: LogEvent): boolean {
  if (eventId <= run.eventId) return false;
  run.eventId = eventId;
  try {
    HANDLERS[event.event_type]?.(run, event.payload, event.creation_ts);
  } catch (error) {
    console.warn(`event ${eventId} cannot be read`, error); // one strange event must not stop the others
  }
  return true;
}

function experimentOf(run: Run, payload: JsonObject): Experiment {
  const id = payload.experiment_id;
  if (typeof id !== "number") throw new TypeError(`experiment_id: ${String(id)}`);
  let experiment = run.experiments.get(id);
  if (!experiment) {
    experiment = newExperiment(id);
    run.experiments.set(id, experiment);
  }
  return experiment;
}

function setRunning(run: Run, experiment: Experiment): void {
  if (experiment.status === "INIT") experiment.status = "RUNNING";
  if (run.status === "INIT") run.status = "RUNNING";
}

/** An evaluation_result's scores, flat: `{"val/accuracy": 0.9}`. */
export function scoresOf(payload: JsonObject): Record<string, number> {
  const scores: Record<string, number> = {};
  for (const entry of payload.metric_scores as JsonObject[])
    scores[`${entry.split}/${entry.metric}`] = toNumber(entry.score);
  for (const entry of payload.loss_scores as JsonObject[])
    scores[`${entry.split}/${entry.loss}`] = toNumber(entry.score);
  return scores;
}

const text = (value: Json | undefined) => (typeof value === "string" ? value : null);
const number = (value: Json | undefined) => (typeof value === "number" ? value : null);

const HANDLERS: Record<string, (run: Run, payload: JsonObject, now: number) => void> = {
  run_started(run, payload, now) {
    run.name = text(payload.name);
    run.configHash = text(payload.config_hash);
    run.numExperiments = number(payload.num_experiments);
    run.startedMs ??= now;
    run.status = "RUNNING";
    run.finishedMs = null;
  },
  run_finished(run, payload, now) {
    run.status = String(payload.status);
    run.finishedMs = now;
  },
  job_scheduled(run, payload) {
    run.config = payload.config as JsonObject;
    run.name ??= text(run.config?.name);
  },
  experiment_config(run, payload) {
    const experiment = experimentOf(run, payload);
    experiment.hyperparameters = (payload.hyperparameters as JsonObject) ?? {};
    experiment.fold = number(payload.fold);
    experiment.round = number(payload.round) ?? 0;
    experiment.refit = (payload.refit as JsonObject | undefined) ?? null;
    experiment.jobId = text(payload.job_id);
  },
  job_status(run, payload) {
    if (payload.job_type === "TERMINATE") return; // about a worker, not about the experiment
    const experiment = experimentOf(run, payload);
    experiment.jobId = text(payload.job_id);
    experiment.device = text(payload.device);
    experiment.started = number(payload.starting_time);
    experiment.finished = number(payload.finishing_time);
    const error = text(payload.error);
    if (payload.status !== "DONE") {
      experiment.status = String(payload.status); // a new attempt: what ended the one before it is over
      experiment.error = experiment.stacktrace = null;
      if (payload.status === "RUNNING" && run.status === "INIT") run.status = "RUNNING";
    } else if (error !== null) {
      experiment.status = "FAILED";
      experiment.error = error;
      experiment.stacktrace = text(payload.stacktrace) ?? experiment.stacktrace;
    } else if (experiment.status !== "FAILED") experiment.status = "DONE";
  },
  experiment_status(run, payload) {
    const experiment = experimentOf(run, payload);
    experiment.progress = payload as unknown as Progress;
    setRunning(run, experiment);
  },
  evaluation_result(run, payload, now) {
    const epoch = payload.epoch;
    if (typeof epoch !== "number") throw new TypeError(`epoch: ${String(epoch)}`);
    const experiment = experimentOf(run, payload);
    setRunning(run, experiment);
    const scores = scoresOf(payload);
    for (const [name, score] of Object.entries(scores)) {
      if (!run.scores.includes(name)) {
        run.scores.push(name);
        chooseMonitor(run);
      }
      run.curves.get(name)?.of(experiment.id).add(epoch, score);
      run.grids.get(name)?.of(experiment.id).add(epoch, score);
    }
    for (const { name, from, to, curves } of run.details)
      if (name in scores && epoch >= from && epoch <= to) curves.of(experiment.id).add(epoch, scores[name]!);
    run.times?.of(experiment.id).add(epoch, now);
    // Epochs are numbered from 1 without gaps; those that a resumed run repeats are not logged again.
    if (epoch <= experiment.epochs) return;
    experiment.epochs = epoch;
    experiment.seconds += toNumber(payload.seconds);
    run.seconds?.of(experiment.id).add(epoch, experiment.seconds);
    experiment.last = scores;
    for (const [name, score] of Object.entries(scores)) {
      if (!Number.isFinite(score)) {
        experiment.best[name] ??= { min: null, max: null };
        continue;
      }
      const best = experiment.best[name] ?? { min: null, max: null };
      experiment.best[name] = {
        min: best.min && best.min[1] <= score ? best.min : [epoch, score],
        max: best.max && best.max[1] >= score ? best.max : [epoch, score],
      };
    }
    if (experiment.stopEpoch !== null && epoch > experiment.stopEpoch)
      experiment.stopEpoch = experiment.stopReason = null; // resumed with more epochs: it goes on after all
  },
  experiment_stopped(run, payload) {
    const experiment = experimentOf(run, payload);
    experiment.stopReason = text(payload.reason);
    experiment.stopEpoch = number(payload.epoch);
  },
  experiment_failed(run, payload) {
    const experiment = experimentOf(run, payload);
    experiment.status = "FAILED";
    experiment.error = text(payload.error);
    experiment.stacktrace = text(payload.stacktrace);
  },
  group_compiled(run, payload) {
    run.groups.push(payload as unknown as GroupRow);
  },
  checkpoint_saved(run, payload) {
    for (const [id, epoch] of payload.kept as [number, number][]) {
      const experiment = run.experiments.get(id);
      if (experiment) experiment.checkpoint = Math.max(experiment.checkpoint, epoch);
    }
  },
  resume_mismatch(run) {
    run.mismatches++;
  },
};

const LOWER_IS_BETTER = /loss|error|perplexity|brier|calibration|mse|mae|nll/i;

const member = (value: Json | undefined, key: string): Json | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value[key] : undefined;

/** `min` for a loss or an error, by the name of the score or of the metric's component: mlgym_jax/events/ranking.py. */
export function defaultMode(config: JsonObject | null, name: string): "max" | "min" {
  const metric = member(member(config ?? undefined, "metrics"), name.split("/")[1] ?? "");
  return LOWER_IS_BETTER.test(`${name} ${member(metric, "component")}`) ? "min" : "max";
}

/** The score that a run is ranked by, as the engine and the server choose it: mlgym_jax/events/ranking.py. */
function chooseMonitor(run: Run): void {
  const { scores } = run;
  for (const section of ["refit", "validation", "checkpointing", "early_stopping", "search"]) {
    const found = member(run.config, section);
    const [monitor, mode] = [member(found, "monitor"), member(found, "mode")];
    if (typeof monitor !== "string" || !scores.includes(monitor)) continue;
    run.monitor = monitor;
    run.mode = mode === "min" || mode === "max" ? mode : defaultMode(run.config, monitor);
    return;
  }
  const [val, train] = ["val/", "train/"].map((split) => scores.filter((name) => name.startsWith(split)));
  const metrics = val!.filter((name) => name.split("/")[1] !== "loss");
  const single = metrics.filter((name) => name.split("/").length === 2);
  const ranking = [...single, ...metrics, "val/loss", ...val!, "train/loss", ...train!, ...scores];
  run.monitor = ranking.find((name) => scores.includes(name)) ?? null;
  run.mode = run.monitor === null ? "max" : defaultMode(run.config, run.monitor);
}
