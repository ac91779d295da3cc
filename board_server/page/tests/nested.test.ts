import { describe, expect, it } from "vitest";
import { nestedEstimate, nestedOf } from "../src/nested";
import { fromDetail, newExperiment, type Run } from "../src/run_state";
import type { RunDetail } from "../src/wire";

const validation = {
  component: "nested_cross_validation",
  outer_folds: 2,
  inner_folds: 2,
  monitor: "val/f1",
  mode: "max",
};

/** By (fold, lr): the best epoch on the inner fold, its score, and the outer score after it. */
function run(results: [fold: number, lr: number, epoch: number, val: number][]): Run {
  const made = fromDetail(
    { groups: [], speeds: [], scores: [], mismatches: [], config: { validation } } as unknown as RunDetail,
    [],
    0,
  );
  results.forEach(([fold, lr, epoch, val], id) => {
    const best = { "val/f1": { min: null, max: [epoch, val] as [number, number] } };
    made.experiments.set(id, { ...newExperiment(id), fold, hyperparameters: { lr }, best });
  });
  return made;
}

const results: [number, number, number, number][] = [
  [0, 0.1, 3, 0.8],
  [1, 0.1, 2, 0.8],
  [0, 0.01, 1, 0.9], // the mean of 0.01 in the first outer fold is 0.75, that of 0.1 is 0.8
  [1, 0.01, 1, 0.6],
  [2, 0.1, 1, 0.5],
  [3, 0.1, 1, 0.5],
  [2, 0.01, 4, 0.6], // in the second outer fold 0.01 wins
  [3, 0.01, 5, 0.7],
];
const tested: Record<string, number> = { "0 3": 0.7, "1 2": 0.74, "6 4": 0.6, "7 5": 0.64 };
const testAt = (id: number, epoch: number) => tested[`${id} ${epoch}`] ?? NaN;

describe("nested cross validation", () => {
  it("scores what each outer fold selects, on its outer part, after the epochs that were best inside", () => {
    const nested = nestedOf(run(results))!;
    expect(nested.test).toBe("test/f1");
    const found = nestedEstimate(run(results), nested, testAt)!; // 0.72 and 0.62
    expect(found.mean).toBeCloseTo(0.67, 12);
    expect(found.deviation).toBeCloseTo(0.1 / Math.SQRT2, 12);
    expect(found.folds).toBe(2);
  });
  it("says nothing while a score is missing", () => {
    const nested = nestedOf(run(results))!;
    expect(nestedEstimate(run(results), nested, (id, epoch) => (id ? testAt(id, epoch) : NaN))).toBe(null);
    expect(nestedEstimate(run([]), nested, testAt)).toBe(null);
  });
  it("is none of other runs", () => {
    expect(nestedOf({ ...run(results), config: { validation: { component: "holdout" } } })).toBe(null);
    expect(nestedOf({ ...run(results), config: null })).toBe(null);
  });
});
