/** What the server sends, as its contract names it, and the requests for it. All addresses are relative to the page. */

import { type JsonObject, parseJson } from "./json";
import { isSaved, savedAnswer } from "./saved";

export type Score = number | "NaN" | "Infinity" | "-Infinity";

export interface RunRow {
  grid_search_id: string;
  name: string | null;
  status: string;
  started_ms: number | null;
  modified_ms: number | null;
  num_experiments: number | null;
  bytes: number;
  published: boolean;
  /** The beginning of the first line. */
  note: string;
  tags: readonly string[];
  archived: boolean;
  deleted: boolean;
  /** Whether what follows is of the log as it is now; before, it is null, or what it was. */
  summarised: boolean;
  monitor: string | null;
  mode: "max" | "min" | null;
  best_score: number | null;
  best_experiment_id: number | null;
  best_epoch: number | null;
  progress: number | null;
  num_done: number | null;
  num_failed: number | null;
  seconds: number | null;
  /** The best score so far, after equal parts of the results. */
  sparkline: readonly number[];
  owner: string | null;
  num_launches: number | null;
  num_refits: number | null;
  warm_starts: readonly string[];
}

export interface GroupRow {
  group: number;
  experiments: number[];
  plan: string;
  reason: string;
  compile_seconds: number;
  num_examples?: number | null;
  mesh?: string | null;
  flops_per_step?: number | null;
  bytes_per_device?: number | null;
}

/** How fast a group trained in one launch. */
export interface SpeedRow {
  group: number;
  examples_per_second: Score;
  tokens_per_second: Score | null;
  device_kind: string;
  utilisation: Score | null;
}

export interface RunDetail {
  grid_search_id: string;
  name: string | null;
  status: string;
  started_ms: number | null;
  finished_ms: number | null;
  num_experiments: number | null;
  config: JsonObject | null;
  config_hash: string | null;
  groups: GroupRow[];
  speeds: SpeedRow[];
  scores: string[];
  monitor: string | null;
  mode: "max" | "min";
  event_id: number;
  mismatches: JsonObject[];
  num_malformed: number;
  published: boolean;
}

export interface Progress {
  status: string;
  num_epochs: number;
  current_epoch: number;
  splits: string[];
  current_split: string;
  num_batches: number;
  current_batch: number;
}

export type Extreme = [epoch: number, score: Score] | null;

export interface ExperimentRow {
  experiment_id: number;
  job_id: string | null;
  fold: number | null;
  round: number;
  refit?: JsonObject | null;
  hyperparameters: JsonObject;
  status: string;
  stop_reason: string | null;
  stop_epoch: number | null;
  error: string | null;
  stacktrace: string | null;
  device: string | null;
  starting_time: number | null;
  finishing_time: number | null;
  progress: Progress | null;
  epochs: number;
  epoch_ranges: [from: number, to: number][];
  seconds: number | null;
  last: Record<string, Score>;
  best: Record<string, { min: Extreme; max: Extreme }>;
  last_checkpoint_id: number;
  experiment_config?: JsonObject;
}

/** What a run has come to, as `mlgym_jax/events/verdict.py` says it. */
export interface Verdict {
  headline: string;
  sentences: Record<string, string>;
  status: string;
  monitor: string | null;
  mode: "max" | "min";
  best: VerdictEntry | null;
  candidate: {
    mean: number;
    std: number | null;
    interval: [number, number] | null;
    over: string;
    num: number;
    num_scored: number;
  } | null;
  estimate: {
    kind: string;
    score: string | null;
    mean: number | null;
    std: number | null;
    num_folds: number | null;
  } | null;
  influence: { hyperparameter: string; share: number | null }[];
  top: VerdictEntry[];
  failures: { kind: string; number: number; experiments: number[] }[];
  progress: { epochs_done: number; epochs_planned: number };
  resume: string | null;
  load: { python: string; epoch: number; is_best: boolean } | null;
}

export interface VerdictEntry {
  experiment_id: number;
  epoch: number;
  score: number;
}

export interface LogEvent {
  event_type: string;
  creation_ts: number;
  payload: JsonObject;
}

export interface Numbered {
  event_id: number;
  data: LogEvent;
}

export type Frame = Numbered | { event_id: "batched_events"; data: Numbered[]; last_event_id?: number };

export interface CheckpointRow {
  experiment_id: number;
  epoch: number;
  checkpoints: string[];
}

export interface Session {
  read: boolean;
  write: boolean;
  token_required: boolean;
}

/** A request that the server answered with an error (`status`), or that did not reach it (`status` 0). */
export class RequestError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export const encode = encodeURIComponent;

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  if (isSaved) {
    const answer = await savedAnswer(path);
    if (answer) return answer;
    throw new RequestError(404, "This file does not hold that: a board has it.");
  }
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new RequestError(0, "The board's server cannot be reached.");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = `${response.status} ${response.statusText}`;
  try {
    message = String(JSON.parse(text).error ?? message);
  } catch {
    // not JSON: the status says enough
  }
  throw new RequestError(response.status, message.replace(/ GET grid_searches lists them$/, "")); // a list that is shown
}

export async function getJson<T>(path: string, init?: RequestInit): Promise<T> {
  return parseJson(await (await request(path, init)).text());
}

export function socketAddress(path: string): string {
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  return address.href;
}
