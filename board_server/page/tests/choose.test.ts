import { describe, expect, it } from "vitest";
import { applyRule } from "../src/choose";
import { parseRule, type Rule } from "../src/rule";
import { type Experiment, newExperiment } from "../src/run_state";
import { selectionCsv } from "../src/selection_export";

const rule = (text: string): Rule => {
  const found = parseRule(text);
  if (!found.ok) throw new Error(found.error);
  return found.value;
};

let next = 0;
const one = (
  lr: number,
  fold: number,
  best: number,
  more: Partial<Experiment> = {},
  seed?: number,
): Experiment => ({
  ...newExperiment(next++),
  status: "DONE",
  fold,
  epochs: 9,
  hyperparameters: seed === undefined ? { lr } : { lr, seed },
  best: { "val/f1": { max: Number.isFinite(best) ? [fold + 1, best] : null, min: null } },
  last: { "val/f1": best },
  ...more,
});
const choose = (text: string, all: Experiment[], pool = all) => applyRule(rule(text), pool, () => "max", all);
const ids = (members: readonly { experiment: Experiment }[]) =>
  members.map(({ experiment }) => experiment.id);

describe("a mean over folds", () => {
  it("is that of the numbers by hand, with the deviation of a sample", () => {
    next = 0;
    const all = [
      one(1, 0, 0.9),
      one(2, 0, 0.6),
      one(1, 1, 0.3),
      one(2, 1, 0.7),
      one(1, 2, 0.6),
      one(2, 2, 0.8),
    ];
    const [first, second] = choose("all by val/f1 mean over fold", all);
    // 0.6, 0.7, 0.8: mean 0.7, deviation sqrt((0.01 + 0 + 0.01) / 2) = 0.1; 0.9, 0.3, 0.6: mean 0.6, deviation 0.3
    expect(ids(first!.members)).toEqual([1, 3, 5]);
    expect([first!.score, first!.deviation, first!.scored, first!.of]).toEqual([
      expect.closeTo(0.7, 12),
      expect.closeTo(0.1, 12),
      3,
      3,
    ]);
    expect(first!.epoch).toBe(2);
    expect([second!.score, second!.deviation]).toEqual([expect.closeTo(0.6, 12), expect.closeTo(0.3, 12)]);
    expect(choose("top 1 by val/f1 mean over fold per lr", all).length).toBe(2);
  });
  it("takes seeds within a fold first, as the engine does, when both are named", () => {
    next = 0;
    // tests/test_selection.py: folds 0.6 and 0.2
    const all = [one(1, 0, 0.5, {}, 0), one(1, 0, 0.7, {}, 1), one(1, 1, 0.1, {}, 0), one(1, 1, 0.3, {}, 1)];
    const [both] = choose("all by val/f1 mean over fold, seed", all);
    expect([both!.score, both!.deviation]).toEqual([
      expect.closeTo(0.4, 12),
      expect.closeTo(Math.sqrt(0.08), 12),
    ]);
    expect(choose("all by val/f1 mean over fold", all).map(({ members }) => ids(members))).toEqual([
      [1, 3],
      [0, 2],
    ]);
    expect(choose("all by val/f1 mean over seed", all).map(({ members }) => ids(members))).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });
  it("puts a candidate behind all complete ones when a fold diverged, is hidden or is missing", () => {
    next = 0;
    const all = [one(1, 0, 0.9), one(1, 1, NaN), one(2, 0, 0.2), one(2, 1, 0.2), one(3, 0, 0.8)];
    const found = choose("all by val/f1 mean over fold", all);
    expect(
      found.map(({ members, scored, of }) => [members[0]!.experiment.hyperparameters.lr, scored, of]),
    ).toEqual([
      [2, 2, 2],
      [1, 1, 2],
      [3, 1, 2],
    ]);
    expect(ids(found[1]!.members)).toEqual([0, 1]); // chosen with it, though without a score
    const hidden = choose("all by val/f1 mean over fold where experiment_id != 2", all);
    expect(hidden.map(({ scored, of }) => [scored, of])).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    expect(choose("all by val/f1 mean over fold", all, all.slice(3)).map(({ of }) => of)).toEqual([2, 2]);
  });
  it("is a tie for the same scores in other folds, and the smaller id comes first", () => {
    next = 0;
    const [a, b, c] = [0.1, 0.2, 0.3]; // (a + b) + c and (c + b) + a differ in the last bit
    expect(a + b + c === c + b + a).toBe(false);
    const all = [one(1, 0, c), one(1, 1, b), one(1, 2, a), one(2, 0, a), one(2, 1, b), one(2, 2, c)];
    expect(choose("top 1 by val/f1 max mean over fold", all)[0]!.members[0]!.experiment.id).toBe(0);
    expect(choose("top 1 by val/f1 max mean over fold", all.reverse())[0]!.members[0]!.experiment.id).toBe(0);
  });
  it("leaves refits out", () => {
    next = 0;
    const all = [
      one(1, 0, 0.5),
      one(1, 1, 0.5),
      one(1, 0, 1, { fold: null, refit: { experiments: [0, 1] } }),
    ];
    expect(choose("all by val/f1 mean over fold", all).map(({ members, of }) => [ids(members), of])).toEqual([
      [[0, 1], 2],
    ]);
    expect(choose("all by val/f1", all).length).toBe(2);
  });
  it("is exported with every score", () => {
    next = 0;
    const all = [one(1, 0, 0.25), one(1, 1, 0.75), one(1, 2, NaN)];
    const text = "all by val/f1 mean over fold";
    expect(selectionCsv(["lr"], rule(text), choose(text, all)).split("\r\n")).toEqual([
      "place,mean,deviation,scored,of,experiment_id,fold,lr,val/f1,epoch",
      `1,0.5,${Math.sqrt(0.125)},2,3,0,0,1,0.25,1`,
      `1,0.5,${Math.sqrt(0.125)},2,3,1,1,1,0.75,2`,
      "1,0.5,0.3535533905932738,2,3,2,2,1,,0",
      "",
    ]);
  });
});

describe("a rule over several runs", () => {
  const [a, b] = ["a", "b"].map((run) => (lr: number, fold: number | null, best: number) => ({
    ...one(lr, fold ?? 0, best),
    fold,
    run,
    hyperparameters: { run, lr },
  }));
  it("averages within each run, whose folds are its own", () => {
    next = 0;
    const all = [a!(1, 0, 0.5), a!(1, 1, 0.7), b!(1, null, 0.9), b!(1, null, 0.7)];
    const [first, second] = choose("all by val/f1 mean over fold", all);
    expect([first!.score, first!.scored, first!.of]).toEqual([expect.closeTo(0.8, 12), 2, 2]);
    expect(first!.deviation).toBeCloseTo(Math.SQRT2 / 10, 12); // of the two, which are no folds
    expect([second!.score, second!.scored, second!.of]).toEqual([expect.closeTo(0.6, 12), 2, 2]);
  });
  it("averages over runs where it says so", () => {
    next = 0;
    const all = [a!(1, null, 0.5), b!(1, null, 0.9), b!(2, null, 0.6)];
    const found = choose("all by val/f1 mean over run", all);
    expect(found.map(({ score }) => score)).toEqual([expect.closeTo(0.7, 12), 0.6]);
  });
});
