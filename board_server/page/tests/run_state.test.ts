import { describe, expect, it } from "vitest";
import { Curve, Curves } from "../src/curve";
import type { Json, JsonObject } from "../src/json";
import { backoffMs } from "../src/live";
import { defaultMode } from "../src/monitor";
import { applyEvent } from "../src/reducer";
import { fromDetail, type Run } from "../src/run_state";
import { orderScores } from "../src/score_order";
import type { ExperimentRow, RunDetail } from "../src/wire";
import modes from "./mode_cases.json";
import cases from "./monitor_cases.json";

const detail = {
  grid_search_id: "r",
  name: null,
  status: "INIT",
  started_ms: null,
  finished_ms: null,
  num_experiments: null,
  config: null,
  config_hash: null,
  groups: [],
  speeds: [],
  scores: [],
  monitor: null,
  mode: "max",
  event_id: -1,
  mismatches: [],
  num_malformed: 0,
  published: false,
} as RunDetail;

const empty = () => fromDetail(detail, [], -1);
let next = 0;
function feed(run: Run, type: string, payload: JsonObject, now = 1000): boolean {
  next = run.eventId + 1;
  return applyEvent(run, next, {
    event_type: type,
    creation_ts: now,
    payload: { grid_search_id: "r", ...payload },
  });
}
const result = (id: number, epoch: number, score: number | string): JsonObject => ({
  experiment_id: id,
  epoch,
  metric_scores: [{ metric: "f1", split: "val", score }],
  loss_scores: [{ loss: "loss", split: "train", score: 1 }],
  seconds: 0.1,
});

describe("the reducer", () => {
  it("follows an experiment from its config to its end", () => {
    const run = empty();
    feed(run, "run_started", { name: "n", config_hash: "h", num_experiments: 1 });
    feed(run, "experiment_config", {
      experiment_id: 3,
      job_id: "j",
      hyperparameters: { lr: 0.1 },
      fold: 2,
      round: 1,
      refit: { monitor: "val/f1", mode: "max", experiments: [1, 2] },
    });
    expect(run.experiments.get(3)!.refit).toEqual({ monitor: "val/f1", mode: "max", experiments: [1, 2] });
    feed(run, "job_status", { experiment_id: 3, status: "RUNNING", starting_time: 5, device: "cpu:0" });
    feed(run, "evaluation_result", result(3, 1, 0.5));
    feed(run, "evaluation_result", result(3, 2, "NaN"));
    feed(run, "evaluation_result", result(3, 3, 0.4));
    feed(run, "experiment_stopped", { experiment_id: 3, epoch: 3, reason: "early stopping" });
    feed(run, "job_status", { experiment_id: 3, status: "DONE", finishing_time: 9 });
    feed(run, "run_finished", { status: "DONE" });
    expect(run.experiments.get(3)).toMatchObject({
      status: "DONE",
      fold: 2,
      round: 1,
      epochs: 3,
      stopReason: "early stopping",
      last: { "val/f1": 0.4, "train/loss": 1 },
      best: { "val/f1": { max: [1, 0.5], min: [3, 0.4] } },
    });
    expect([run.status, run.name, run.scores]).toEqual(["DONE", "n", ["val/f1", "train/loss"]]);
  });
  it("ranks by what the config monitors as soon as it is scored, else by a metric of validation", () => {
    const run = empty();
    feed(run, "evaluation_result", result(0, 1, 0.5));
    expect([run.monitor, run.mode]).toEqual(["val/f1", "max"]);
    const other = empty();
    feed(other, "job_scheduled", { config: { checkpointing: { monitor: "train/loss", mode: "min" } } });
    feed(other, "evaluation_result", result(0, 1, 0.5));
    expect([other.monitor, other.mode]).toEqual(["train/loss", "min"]);
  });
  it.each(modes)("takes the direction that the engine takes: $name of $config", ({ name, config, mode }) => {
    expect(defaultMode(config as unknown as Json, name)).toBe(mode);
  });

  it.each(cases)("ranks by the score that the engine and the server choose: $what", (one) => {
    const run = empty();
    feed(run, "job_scheduled", { config: one.config as unknown as JsonObject });
    const metric_scores = one.scores.map((name) => {
      const [split, ...metric] = name.split("/");
      return { split: split!, metric: metric.join("/"), score: 0.5 };
    });
    feed(run, "evaluation_result", { experiment_id: 0, epoch: 1, metric_scores, loss_scores: [] });
    expect([run.monitor, run.mode, run.scores]).toEqual([one.monitor, one.mode, one.scores]);
  });
  it("applies no event twice and never goes back", () => {
    const run = empty();
    run.curves.set("val/f1", new Curves());
    const event = { event_type: "evaluation_result", creation_ts: 1, payload: result(0, 1, 0.5) };
    expect(applyEvent(run, 10, event)).toBe(true);
    expect(applyEvent(run, 10, event)).toBe(false);
    expect(applyEvent(run, 9, event)).toBe(false);
    expect(run.curves.get("val/f1")!.get(0)!.n).toBe(1);
    expect(applyEvent(run, 15, { ...event, payload: result(0, 2, 0.6) })).toBe(true); // damaged lines have no ids
    expect(run.eventId).toBe(15);
  });
  it("keeps up grids, the details of zooms, and the seconds trained, which know no pause", () => {
    const run = empty();
    run.grids.set("val/f1", new Curves(2));
    run.times = new Curves();
    run.seconds = new Curves();
    const detail = { name: "val/f1", from: 2, to: 3, curves: new Curves() };
    run.details.add(detail);
    for (const epoch of [1, 2, 3, 4])
      feed(
        run,
        "evaluation_result",
        { ...result(0, epoch, epoch / 10), seconds: epoch },
        epoch > 2 ? 9e9 : 1000,
      );
    const shown = (curves: Curves) => {
      const { epochs, values, n } = curves.of(0);
      return [...epochs.subarray(0, n)].map((epoch, i) => [epoch, values[i]]);
    };
    expect(shown(run.grids.get("val/f1")!)).toEqual([
      [2, 0.2],
      [4, 0.4],
    ]);
    expect(shown(detail.curves)).toEqual([
      [2, 0.2],
      [3, 0.3],
    ]);
    expect(shown(run.seconds).map(([, seconds]) => seconds)).toEqual([1, 3, 6, 10]);
    expect(run.times.of(0).at(3)).toBe(9e9);
    expect(run.experiments.get(0)!.seconds).toBe(10);
    const { seconds, ...untold } = result(0, 5, 1);
    feed(run, "evaluation_result", untold);
    expect([seconds, run.experiments.get(0)!.seconds]).toEqual([0.1, NaN]);
  });
  it("keeps an error, and forgets it when the experiment is tried again", () => {
    const run = empty();
    feed(run, "experiment_failed", { experiment_id: 0, epoch: 1, error: "boom", stacktrace: "line" });
    feed(run, "job_status", { experiment_id: 0, status: "DONE" });
    expect(run.experiments.get(0)).toMatchObject({ status: "FAILED", error: "boom", stacktrace: "line" });
    feed(run, "job_status", { experiment_id: 0, status: "RUNNING" });
    expect(run.experiments.get(0)).toMatchObject({ status: "RUNNING", error: null, stacktrace: null });
  });
  it("passes over types and events that it cannot read, and says so", () => {
    const run = empty();
    const warn = console.warn;
    let warned = 0;
    console.warn = () => void warned++;
    feed(run, "of_tomorrow", { x: 1 });
    feed(run, "evaluation_result", { experiment_id: "zero", epoch: 1, metric_scores: [], loss_scores: [] });
    console.warn = warn;
    expect([run.eventId, run.experiments.size, warned]).toEqual([1, 0, 1]);
  });
  it("begins from the server's rows", () => {
    const row = {
      experiment_id: 1,
      hyperparameters: {},
      status: "RUNNING",
      epochs: 4,
      epoch_ranges: [[1, 4]],
      seconds: 2.5,
      last: { a: "NaN" },
      best: { a: { min: [1, 0.1], max: null } },
      last_checkpoint_id: -1,
    } as unknown as ExperimentRow;
    const run = fromDetail({ ...detail, event_id: 9 }, [row], 7);
    expect(run.experiments.get(1)!.last.a).toBeNaN();
    expect(run.experiments.get(1)!.best.a).toEqual({ min: [1, 0.1], max: null });
    expect(run.experiments.get(1)!.seconds).toBe(2.5);
    expect(run.eventId).toBe(7);
  });
});

describe("curves", () => {
  it("grow, take late epochs in order, and keep the first value of an epoch", () => {
    const curve = new Curve();
    for (const epoch of [1, 2, 5, 3, 4, 2]) curve.add(epoch, epoch * 10);
    expect([...curve.epochs.subarray(0, curve.n)]).toEqual([1, 2, 3, 4, 5]);
    expect(curve.add(3, 99)).toBe(false);
    expect([curve.at(3), curve.at(6)]).toEqual([30, NaN]);
  });
  it("merge what arrived while the rest was loaded without gap or double", () => {
    const loaded = new Curves().set(0, new Curve(Int32Array.of(1, 2, 3), Float64Array.of(1, 2, 3)));
    const newer = new Map([
      [0, new Curve(Int32Array.of(3, 4), Float64Array.of(30, 4))],
      [1, new Curve(Int32Array.of(1), Float64Array.of(9))],
    ]);
    loaded.merge(newer);
    const first = loaded.get(0)!;
    expect([...first.values.subarray(0, first.n)]).toEqual([1, 2, 3, 4]);
    expect(loaded.get(1)!.at(1)).toBe(9);
  });
  it("at every third epoch take in only these, but count all, also those that came while it was loaded", () => {
    const curves = new Curves(3);
    // The log held 1 to 8; 7 to 10 came meanwhile.
    curves.set(0, new Curve(Int32Array.of(3, 6), Float64Array.of(3, 6), 8, 3, 8));
    const newer = new Map([[0, new Curve(Int32Array.of(7, 8, 9, 10), Float64Array.of(7, 8, 9, 10))]]);
    curves.merge(newer);
    const curve = curves.get(0)!;
    expect([[...curve.epochs.subarray(0, curve.n)], curve.total]).toEqual([[3, 6, 9], 10]);
    for (const epoch of [11, 11, 12]) curve.add(epoch, epoch);
    expect([curve.lastEpoch, curve.total, curves.isThinned]).toEqual([12, 12, true]);
    for (const epoch of [1, 2, 3]) curves.of(1).add(epoch, epoch);
    expect([curves.of(1).n, curves.of(1).total]).toEqual([1, 3]);
  });
  it("leave decimated parts as they are, and append to them", () => {
    const curve = new Curve(Int32Array.of(1, 50, 100), Float64Array.of(1, 2, 3), 100);
    expect(curve.add(60, 9)).toBe(false);
    expect(curve.add(101, 9)).toBe(true);
    expect([curve.n, curve.total]).toEqual([4, 101]);
  });
});

describe("reconnecting", () => {
  it("waits longer each time, at most about ten seconds, and not all at once", () => {
    expect(backoffMs(0, 0.5)).toBe(400);
    expect(backoffMs(3, 0.5)).toBe(3200);
    expect(backoffMs(20, 0.5)).toBe(10_000);
    expect(backoffMs(20, 0)).toBe(7500);
  });
});

describe("the order of scores", () => {
  it("puts the splits of a metric beside each other", () => {
    expect(orderScores(["train/loss", "train/f1", "val/loss", "test/f1", "val/f1"])).toEqual([
      "val/f1",
      "train/f1",
      "test/f1",
      "val/loss",
      "train/loss",
    ]);
  });
});
