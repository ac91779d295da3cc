import { expect, test } from "vitest";
import { Curve, Curves } from "../src/curve";
import { runLines } from "../src/run_lines";
import { areFew, everyOf, type Side } from "../src/run_sides";

const side = (id: string, values: Record<number, number[]>, best: number): Side => {
  const curves = new Curves();
  for (const [member, ys] of Object.entries(values))
    curves.set(
      Number(member),
      new Curve(
        Int32Array.from(ys, (_, i) => i + 1),
        Float64Array.from(ys),
      ),
    );
  const experiments = Object.keys(values).map(Number);
  const selected = {
    experiments,
    hyperparameters: {},
    monitor: "val/loss",
    mode: "min" as const,
    best_experiment_id: best,
    best_epoch: 1,
    best_score: 0,
    epochs: 2,
  };
  return { id, name: null, selected, scores: new Map([["val/loss", curves]]), problem: null, isOld: false };
};

const SHAPE = { each: "mean", smooth: 0, best: "", band: "std" } as const;
const ONE = side("a", { 3: [1, 3], 4: [3, 5] }, 4);

test("a run is the mean of its best candidate with a band, or its best experiment", () => {
  const { lines, bands } = runLines([ONE], "val/loss", "min", SHAPE, false);
  expect([...(lines[0]!.y as Float64Array)]).toEqual([2, 4]);
  expect(lines[0]!.members).toBe(2);
  expect([...(bands[0]!.high as Float64Array)]).toEqual([2 + Math.SQRT2, 4 + Math.SQRT2]);
  const best = runLines([ONE], "val/loss", "min", { ...SHAPE, each: "best" }, false);
  expect([...(best.lines[0]!.y as Float64Array)]).toEqual([3, 5]);
  expect(best.bands).toEqual([]);
});

test("a run keeps its place and colour while others are not there yet, or have no such score", () => {
  const { lines } = runLines(
    [undefined, ONE, { ...ONE, selected: null }, ONE],
    "val/loss",
    "min",
    SHAPE,
    false,
  );
  expect(lines.map(({ id }) => id)).toEqual([1, 3]);
  expect(runLines([ONE], "val/f1", "max", SHAPE, false).lines).toEqual([]);
});

test("the best so far goes the way of the score", () => {
  const { lines } = runLines([ONE], "val/loss", "min", { ...SHAPE, each: "best", best: "auto" }, false);
  expect([...(lines[0]!.y as Float64Array)]).toEqual([3, 3]);
});

test("of long runs every K-th epoch is asked for", () => {
  expect([1, 1000, 1001, 50_000].map(everyOf)).toEqual([1, 1, 2, 50]);
});

test("epochs that are no multiples of what is asked for are asked for otherwise", () => {
  const some = (...curves: [n: number, total: number][]) => [
    new Map(curves.map(([n, total], id) => [id, { n, total }])),
  ];
  expect(areFew(some([0, 600]))).toBe(true); // steps 49, 99, … of 30,000
  expect(areFew(some([200, 600]))).toBe(true); // 50, 100, …
  expect(areFew(some([500, 1001], [5, 10]))).toBe(false);
  expect(areFew(some([1000, 2000]))).toBe(false); // every fifth of 10,000 epochs
  expect(areFew(some())).toBe(false);
});
