import { describe, expect, it } from "vitest";
import { applyRule } from "../src/choose";
import type { JsonObject } from "../src/json";
import { namesIn, parseRule, quoted, type Rule } from "../src/rule";
import { type Experiment, newExperiment } from "../src/run_state";

const rule = (text: string): Rule => {
  const found = parseRule(text);
  if (!found.ok) throw new Error(`${found.error} at ${found.at}`);
  return found.value;
};

const experiment = (
  id: number,
  lr: number,
  fold: number,
  best: number,
  last: number,
  status = "DONE",
): Experiment => ({
  ...newExperiment(id),
  status,
  fold,
  epochs: 9,
  hyperparameters: { "optimizer.learning_rate": lr, "a b": "x y" },
  best: { "val/f1": { max: [4, best], min: [1, 0] } },
  last: { "val/f1": last },
});
const all = [
  experiment(0, 0.1, 0, 0.9, 0.1),
  experiment(1, 0.01, 0, 0.8, 0.8),
  experiment(2, 0.001, 1, 0.95, 0.7, "FAILED"),
  experiment(3, 0.001, 1, 0.8, 0.75),
  { ...newExperiment(4), best: { "val/f1": { min: null, max: null } }, last: { "val/f1": NaN } },
];
const MODES = (score: string) => (score.endsWith("loss") ? "min" : "max");
const chosen = (text: string) =>
  applyRule(rule(text), all, MODES).map(({ members: [one] }) => one!.experiment.id);

describe("a rule", () => {
  it("reads in full", () => {
    expect(
      rule(
        'top 5 by val/f1 max at last mean over fold, "the seed" where not (status = FAILED or lr in (1, 2)) and "a b" ~ "^x" per fold',
      ),
    ).toEqual({
      top: 5,
      by: "val/f1",
      mode: "max",
      at: "last",
      over: ["fold", "the seed"],
      where: {
        kind: "and",
        parts: [
          {
            kind: "not",
            part: {
              kind: "or",
              parts: [
                { kind: "compare", name: "status", op: "=", value: "FAILED" },
                { kind: "in", name: "lr", values: ["1", "2"] },
              ],
            },
          },
          { kind: "compare", name: "a b", op: "~", value: "^x" },
        ],
      },
      per: "fold",
    });
  });
  it("chooses the best; of equal ones the smaller id; never NaN", () => {
    expect(chosen("all by val/f1 max")).toEqual([2, 0, 1, 3]);
    expect(chosen("top 2 by val/f1 max at last")).toEqual([1, 3]);
    expect(chosen("all by val/f1 min at last")).toEqual([0, 2, 3, 1]);
    expect(applyRule(rule("top 1 by val/f1"), all, MODES)[0]).toMatchObject({ score: 0.95, epoch: 4 });
  });
  it("takes conditions, and so many per group", () => {
    expect(chosen("top 5 by val/f1 max where optimizer.learning_rate < 0.05 and status = DONE")).toEqual([
      1, 3,
    ]);
    expect(chosen("top 1 by val/f1 max per fold")).toEqual([2, 0]);
    expect(chosen('all by val/f1 max where "a b" = "x y" and not status != DONE')).toEqual([0, 1, 3]);
    expect(chosen("all by val/f1 max where optimizer.learning_rate in (0.1, 0.01)")).toEqual([0, 1]);
    expect(chosen("all by nothing max")).toEqual([]);
    expect(chosen("all by val/f1 where constructor = x")).toEqual([]);
  });
});

describe("lists and what is None", () => {
  const experiment = (id: number, hyperparameters: JsonObject): Experiment => ({
    ...newExperiment(id),
    hyperparameters,
    best: { f1: { min: [1, id], max: [1, id] } },
  });
  const all = [
    experiment(0, { features: [64, 32], momentum: null, opt: { component: "adam", lr: 1 } }),
    experiment(1, { features: [], momentum: 0.9, opt: { component: "sgd", lr: 1 } }),
  ];
  it.each([
    ["features = [64,32]", [0]],
    ["features = [64, 32]", [0]],
    ["features = []", [1]],
    ["features in ([64,32], [])", [1, 0]],
    ['features = "[64,32]"', [0]],
    ["momentum = None", [0]],
    ["momentum = null", [0]],
    ["momentum in (none, 0.9)", [1, 0]],
    ["momentum != None", [1]],
    ["opt = adam", [0]],
    ["opt ~ sgd", [1]],
  ])("%s", (where, wanted) => {
    const found = applyRule(rule(`all by f1 max where ${where}`), all, () => "max");
    expect(found.map(({ members }) => members[0]!.experiment.id)).toEqual(wanted);
  });
});

it("more than there are may be asked for", () => {
  expect(rule("top 99999999999 by f1").top).toBe(99_999_999_999);
});

describe("errors", () => {
  it.each([
    ["", 0, "begins with"],
    ["top", 3, "whole number"],
    ["top x by a", 4, "“x”"],
    ["top 0 by a", 4, "from 1 on is needed, not “0”"],
    ["top 5 val/f1", 6, "by <score>"],
    ["top 5 by", 8, "score's name"],
    ["top 5 by where", 9, "score's name"],
    ["top 5 by a at noon", 14, "at best"],
    ["top 5 by a max extra", 15, "not expected"],
    ["top 5 by a mean fold", 16, "“over <name>”"],
    ["top 5 by a mean over fold,", 26, "a name after"],
    ["top 5 by a where", 16, "condition"],
    ["top 5 by a where lr", 19, "is missing"],
    ["top 5 by a where lr < x", 22, "number"],
    ["top 5 by a where (lr < 1", 24, "“)”"],
    ["top 5 by a where lr in 1", 23, "brackets"],
    ['top 5 by "a', 9, "not closed"],
    ['top 5 by a where b ~ "("', 21, ""],
  ])("of %j is at %i", (text, at, message) => {
    const found = parseRule(text);
    expect(found.ok).toBe(false);
    if (found.ok) return;
    expect(found.at).toBe(at);
    expect(found.error).toContain(message);
  });
  it("may come from names that a run has not", () => {
    const found = parseRule("top 5 by val/acc", (name) => (name === "val/acc" ? "no such score" : null));
    expect(found).toMatchObject({ ok: false, at: 9, length: 7, error: "no such score" });
  });
});

describe("names", () => {
  it("are found wherever a rule has them", () => {
    const text = "top 1 by a mean over b where (c = 1 or not d in (2)) and e ~ x per f";
    expect(namesIn(rule(text))).toEqual(["a", "b", "c", "d", "e", "f"]);
  });
  it.each(["val/f1", "a b", 'say "x"', "mean", "back\\slash \\", "a(b)"])(
    "%j is read as it was quoted",
    (name) => {
      expect(rule(`all by ${quoted(name)} max`).by).toBe(name);
    },
  );
});
