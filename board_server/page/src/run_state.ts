/**
 * The state of a run as a function of its events, in the browser: the same rules as the log's projection in Python.
 * `applyEvent` changes the state in place (typed arrays would be too large to copy) and reads nothing else.
 */

import { Curve } from "./curve";
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
  /** Curves that a view asked for: score name -> experiment -> curve. */
  curves: Map<string, Map<number, Curve>>;
  /** Unix milliseconds at which each epoch was evaluated; null until a view asks. */
  times: Map<number, Curve> | null;
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
    times: null,
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
      const curves = run.curves.get(name);
      if (curves) curveOf(curves, experiment.id).add(epoch, score);
    }
    if (run.times) curveOf(run.times, experiment.id).add(epoch, now);
    // Epochs are numbered from 1 without gaps; those that a resumed run repeats are not logged again.
    if (epoch <= experiment.epochs) return;
    experiment.epochs = epoch;
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

/** The score that a run is ranked by, as the server chooses it: what its config monitors, else the first of validation. */
function chooseMonitor(run: Run): void {
  const { scores } = run;
  for (const section of ["validation", "refit", "checkpointing", "early_stopping", "search"]) {
    const found = run.config?.[section] as JsonObject | null | undefined;
    if (typeof found?.monitor !== "string" || !scores.includes(found.monitor)) continue;
    run.monitor = found.monitor;
    run.mode = found.mode === "min" ? "min" : "max";
    return;
  }
  const metric = scores.find((name) => name.startsWith("val/") && !name.startsWith("val/loss"));
  const loss = scores.findLast((name) => name.endsWith("/loss"));
  run.monitor = metric ?? loss ?? scores[0] ?? null;
  run.mode = metric === undefined && loss !== undefined ? "min" : "max";
}

export function curveOf(curves: Map<number, Curve>, id: number): Curve {
  let curve = curves.get(id);
  if (!curve) {
    curve = new Curve();
    curves.set(id, curve);
  }
  return curve;
}

/** Put an older `curves` under what arrived since: points of `newer` that are missing are added. */
export function mergeCurves(loaded: Map<number, Curve>, newer: Map<number, Curve>): void {
  for (const [id, curve] of newer) {
    const target = curveOf(loaded, id);
    for (let i = 0; i < curve.n; i++) target.add(curve.epochs[i]!, curve.values[i]!);
  }
}
