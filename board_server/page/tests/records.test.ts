import { expect, test } from "vitest";
import type { JsonObject } from "../src/json";
import { machineOf, shares, shownOf } from "../src/records";

const event = (event_type: string, payload: JsonObject, creation_ts = 0) => ({
  event_type,
  payload,
  creation_ts,
});
const line = (label: string | null, y: number[]) => ({
  metric: "roc",
  split: "val",
  kind: "curve",
  label,
  x: [0, 1],
  y,
  x_name: "fpr",
  y_name: "tpr",
});

test("the lines of a curve belong together, and a curve that comes again replaces them all", () => {
  const first = event("evaluation_curves", { curves: [line("a", [0, 1]), line("b", [0, 0.5])] });
  const again = event("evaluation_curves", { curves: [line("a", [0, 0.75])] });
  expect(shownOf([first]).map((one) => one.kind === "curve" && one.lines.map(({ label }) => label))).toEqual([
    ["a", "b"],
  ]);
  expect(shownOf([first, again])).toEqual([
    {
      kind: "curve",
      title: "val/roc",
      xName: "fpr",
      yName: "tpr",
      lines: [{ label: "a", x: [0, 1], y: [0, 0.75] }],
    },
  ]);
});

test("what was evaluated of other data stands beside the run's own, validation comes first", () => {
  const matrix = {
    metric: "confusion",
    kind: "matrix",
    values: [[1, 2]],
    x_name: "p",
    y_name: "t",
    classes: null,
  };
  const titles = shownOf([
    event("evaluation_curves", { curves: [{ ...matrix, split: "train" }] }),
    event("evaluation_curves", { curves: [{ ...matrix, split: "val" }] }),
    event("evaluation_curves", {
      curves: [{ ...matrix, split: "val" }],
      dataset: { component: "npz", path: "new.npz" },
    }),
  ]).map(({ title }) => title);
  expect(titles).toEqual(["val/confusion", "train/confusion", "val/confusion, of new.npz"]);
});

test("strange events show nothing, or what can be read of them", () => {
  expect(shownOf([event("recorded", { kind: "video", name: "x", split: "val" })])).toEqual([]);
  expect(shownOf([event("evaluation_curves", { curves: [3, null] })])).toEqual([]);
  expect(shownOf([event("recorded", { kind: "image", name: "x", split: "val", width: "9" })])).toEqual([
    { kind: "image", title: "val/x", file: "", width: 0, height: 0 },
  ]);
});

test("rows become shares of 1; a row of nothing stays nothing", () => {
  expect(shares([1, 3, 0])).toEqual([0.25, 0.75, 0]);
  expect(shares([0, 0])).toEqual([0, 0]);
  expect(shares([Number.NaN, 1])).toEqual([0, 0]);
});

test("of the machine, what no sample says is left out, and a GPU that comes later has gaps before", () => {
  const gpu = { index: 0, name: "H100", utilisation: 0.5, memory_used: 1, watts: null, celsius: 60 };
  const { x, series } = machineOf([
    event("system", { process_cores: 1, machine_busy: null, gpus: [] }, 1000),
    event("system", { process_cores: 2, gpus: [gpu] }, 16_000),
  ]);
  expect(x).toEqual([0, 15]);
  expect(series.map(({ title, lines }) => [title, lines])).toEqual([
    ["processor cores busy", [{ label: "this run", y: [1, 2] }]],
    ["GPU utilisation", [{ label: "GPU 0 H100", y: [Number.NaN, 0.5] }]],
    ["GPU memory", [{ label: "GPU 0 H100", y: [Number.NaN, 1] }]],
    ["GPU temperature (°C)", [{ label: "GPU 0 H100", y: [Number.NaN, 60] }]],
  ]);
});
