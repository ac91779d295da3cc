/**
 * A run as a function of its events: the rules are those of the log's projection, mlgym_jax/events/projection.py.
 * `applyEvent` changes the state in place (typed arrays would be too large to copy) and reads nothing else.
 */

import { addEpoch, lastEpoch } from "./epoch_ranges";
import {
  isInteger,
  isObject,
  type JsonObject,
  listOf,
  member,
  numberOrNull,
  objectOrNull,
  required,
  text,
  textOrNull,
  toFloat,
} from "./json";
import { defaultMonitor } from "./monitor";
import {
  type Best,
  type Experiment,
  experimentsOf,
  markRunning,
  nameScores,
  newExperiment,
  type Run,
} from "./run_state";
import type { GroupRow, LogEvent, Progress, SpeedRow } from "./wire";

const MAX_SCORES = 1000; // of one experiment

/** Apply one event; an id that was applied already changes nothing. Return whether it was new. */
export function applyEvent(run: Run, eventId: number, event: LogEvent): boolean {
  if (eventId <= run.eventId) return false;
  run.eventId = eventId;
  try {
    const { creation_ts: now, event_type: type, payload } = event;
    const [ofRun, ofExperiments] = [OF_RUN.get(type), OF_EXPERIMENTS.get(type)];
    if (!ofRun && !ofExperiments) return true; // of a newer writer
    if (!isObject(payload)) throw new TypeError("payload is no object");
    if (!isInteger(now)) throw new TypeError(`creation_ts: ${now}`);
    if (eventId > run.heads.run) ofRun?.(run, payload, now);
    if (eventId > run.heads.experiments) ofExperiments?.(run, payload, now);
    run.startedMs ??= now;
  } catch (error) {
    console.warn(`event ${eventId} cannot be read`, error); // one strange event must not stop the others
  }
  return true;
}

type Handler = (run: Run, payload: JsonObject, now: number) => void;

const OF_RUN = new Map<string, Handler>(
  Object.entries({
    run_started(run, payload) {
      run.name = textOrNull(payload.name);
      run.configHash = textOrNull(payload.config_hash);
      run.numExperiments = numberOrNull(payload.num_experiments);
      run.status = "RUNNING";
      run.finishedMs = null;
    },
    run_finished(run, payload, now) {
      run.status = text(required(payload, "status"));
      run.finishedMs = now;
    },
    job_scheduled(run, payload) {
      const config = required(payload, "config");
      run.config = config as JsonObject;
      if (isObject(config)) run.name ??= textOrNull(config.name);
      [run.monitor, run.mode] = defaultMonitor(run.scores, config);
    },
    group_compiled(run, payload) {
      run.groups.push(payload as unknown as GroupRow);
    },
    group_trained(run, payload) {
      run.speeds.push(payload as unknown as SpeedRow);
    },
    resume_mismatch(run) {
      run.mismatches++;
    },
    model_evaluated(_run, payload) {
      // Model cards show it; here it is only read, as strictly as the projection does.
      for (const name of ["experiment_id", "epoch", "num_examples"])
        if (!isInteger(payload[name])) throw new TypeError(`${name}: ${JSON.stringify(payload[name])}`);
      if (typeof payload.split !== "string") throw new TypeError("split is no text");
      const [dataset, scores] = [required(payload, "dataset"), required(payload, "scores")];
      if (dataset !== null && !isObject(dataset)) throw new TypeError("dataset is no object");
      if (!isObject(scores)) throw new TypeError("scores are no object");
      for (const score of Object.values(scores)) toFloat(score);
    },
    // Read as strictly as the projection does, and not shown yet.
    evaluation_curves(_run, payload) {
      const curves = payload.dataset == null ? required(payload, "curves") : [];
      if (!Array.isArray(curves)) throw new TypeError("curves are no list");
      for (const one of curves) {
        if (!isObject(one)) throw new TypeError("a curve is no object");
        required(one, "split");
        required(one, "metric");
      }
      if (payload.dataset == null) checkPlace(payload);
    },
    recorded(_run, payload) {
      required(payload, "split");
      required(payload, "name");
      checkPlace(payload);
    },
    message(_run, payload) {
      if (typeof payload.text !== "string") throw new TypeError("text is no text");
    },
    // The page shows nothing of these.
    system() {},
    checkpoint_skipped() {},
    group_compacted() {},
  } satisfies Record<string, Handler>),
);

const OF_EXPERIMENTS = new Map<string, Handler>(
  Object.entries({
    experiment_config(run, payload) {
      const hyperparameters = payload.hyperparameters || {};
      if (!isObject(hyperparameters)) throw new TypeError("hyperparameters are no object");
      const experiment = experimentOf(run, payload);
      experiment.hyperparameters = hyperparameters;
      experiment.fold = numberOrNull(payload.fold);
      experiment.round = numberOrNull(payload.round) ?? 0;
      experiment.refit = objectOrNull(payload.refit);
      experiment.jobId = textOrNull(payload.job_id);
    },
    job_status(run, payload) {
      if (payload.job_type === "TERMINATE") return; // about a worker, not about the experiment
      const status = required(payload, "status");
      const experiment = experimentOf(run, payload);
      experiment.jobId = textOrNull(payload.job_id);
      experiment.started = numberOrNull(payload.starting_time);
      experiment.finished = numberOrNull(payload.finishing_time);
      experiment.device = textOrNull(payload.device || experiment.device); // a job that is done has none
      const error = textOrNull(payload.error);
      if (status !== "DONE") {
        experiment.status = text(status); // a new attempt: what ended the one before it is over
        experiment.error = experiment.stacktrace = null;
        markRunning(run, experiment);
      } else if (error !== null) {
        experiment.status = "FAILED";
        experiment.error = error;
        experiment.stacktrace = textOrNull(payload.stacktrace || experiment.stacktrace);
      } else if (experiment.status !== "FAILED") experiment.status = "DONE"; // experiment_failed was here before
    },
    experiment_status(run, payload) {
      const experiment = experimentOf(run, payload);
      const { grid_search_id: _run, experiment_id: _id, ...progress } = payload;
      experiment.progress = progress as unknown as Progress;
      setRunning(run, experiment);
    },
    evaluation_result(run, payload, now) {
      const [scores, epoch] = [scoresOf(payload), payload.epoch];
      const seconds = toFloat(payload.seconds ?? "NaN");
      if (!isInteger(epoch)) throw new TypeError(`epoch: ${JSON.stringify(epoch)}`);
      const experiment = experimentOf(run, payload);
      const isTaken = addResult(run, experiment, epoch, scores, seconds, now);
      setRunning(run, experiment);
      if (isTaken && experiment.stopEpoch !== null && epoch > experiment.stopEpoch)
        experiment.stopEpoch = experiment.stopReason = null; // resumed with more epochs: it goes on after all
    },
    experiment_stopped(run, payload) {
      const reason = required(payload, "reason");
      const experiment = experimentOf(run, payload);
      experiment.stopReason = textOrNull(reason);
      experiment.stopEpoch = numberOrNull(payload.epoch);
    },
    experiment_failed(run, payload) {
      const experiment = experimentOf(run, payload);
      experiment.status = "FAILED";
      experiment.error = textOrNull(payload.error);
      experiment.stacktrace = textOrNull(payload.stacktrace);
    },
    /** A step holds the newest epoch of every experiment of its group, whatever a strategy keeps besides. */
    checkpoint_saved(run, payload) {
      const epoch = numberOrNull(payload.epoch) ?? 0;
      const group = run.groups.findLast((one) => one.group === payload.group);
      for (const id of experimentsOf(group)) {
        const experiment = run.experiments.get(id);
        const newest = experiment ? Math.min(lastEpoch(experiment.epochRanges), epoch) : 0;
        if (newest > 0) experiment!.checkpoint = newest;
      }
    },
  } satisfies Record<string, Handler>),
);

function checkPlace(payload: JsonObject): void {
  for (const name of ["experiment_id", "epoch"])
    if (!isInteger(payload[name])) throw new TypeError(`${name}: ${JSON.stringify(payload[name])}`);
}

function experimentOf(run: Run, payload: JsonObject): Experiment {
  const id = payload.experiment_id;
  if (!isInteger(id)) throw new TypeError(`experiment_id: ${JSON.stringify(id)}`);
  let experiment = run.experiments.get(id);
  if (!experiment) {
    experiment = newExperiment(id);
    run.experiments.set(id, experiment);
  }
  return experiment;
}

function setRunning(run: Run, experiment: Experiment): void {
  if (experiment.status === "INIT") experiment.status = "RUNNING";
  markRunning(run, experiment);
}

/** An evaluation_result's scores, flat: `{"val/accuracy": 0.9}`. */
export function scoresOf(payload: JsonObject): Record<string, number> {
  const scores: Record<string, number> = {};
  for (const kind of ["metric", "loss"])
    for (const entry of listOf(payload[`${kind}_scores`])) {
      const [split, name] = [member(entry, "split"), member(entry, kind)];
      if (typeof split !== "string" || typeof name !== "string")
        throw new TypeError(`${kind} without a name`);
      scores[`${split}/${name}`] = toFloat(member(entry, "score"));
    }
  return scores;
}

/** Take in one epoch's scores; the first ones of an epoch win. Return whether they were taken. */
function addResult(
  run: Run,
  experiment: Experiment,
  epoch: number,
  scores: Record<string, number>,
  seconds: number,
  now: number,
): boolean {
  const { best, epochRanges, id } = experiment;
  const isNewest = !epochRanges.length || epoch > lastEpoch(epochRanges);
  const newNames = Object.keys(scores).filter((name) => !Object.hasOwn(best, name));
  if (newNames.length && Object.keys(best).length + newNames.length > MAX_SCORES)
    throw new RangeError(`more than ${MAX_SCORES} scores`);
  if (!addEpoch(epochRanges, epoch)) return false;
  experiment.epochs++;
  experiment.seconds += Number.isFinite(seconds) ? seconds : NaN;
  if (isNewest) experiment.last = scores;
  for (const [name, score] of Object.entries(scores)) best[name] = better(best[name], epoch, score);
  // The names of experiments are those of the run almost always: then their order stays, too.
  if (newNames.length && Object.keys(best).join("\n") !== run.scores.join("\n")) nameScores(run);
  for (const [name, score] of Object.entries(scores)) {
    run.curves.get(name)?.of(id).add(epoch, score);
    run.grids.get(name)?.of(id).add(epoch, score);
  }
  for (const { name, from, to, curves } of run.details)
    if (name in scores && epoch >= from && epoch <= to) curves.of(id).add(epoch, scores[name]!);
  run.times?.of(id).add(epoch, now);
  if (isNewest) run.seconds?.of(id).add(epoch, experiment.seconds);
  else run.seconds?.of(id).insertPart(epoch, seconds);
  return true;
}

/** The best scores with one more; of equal ones the earlier epoch's. */
function better(best: Best = { min: null, max: null }, epoch: number, score: number): Best {
  if (!Number.isFinite(score)) return best;
  const choose = (old: Best["min"], sign: number): Best["min"] =>
    old && (sign * old[1] < sign * score || (old[1] === score && old[0] < epoch)) ? old : [epoch, score];
  return { min: choose(best.min, 1), max: choose(best.max, -1) };
}
