import { describe, expect, it } from "vitest";
import {
  type Cell,
  candidates,
  filterExperiments,
  isForeign,
  parseCondition,
  parseFilter,
  parseText,
  sortExperiments,
} from "../src/filter";
import { type Experiment, newExperiment } from "../src/run_state";

const experiment = (id: number, more: Partial<Experiment>): Experiment => ({ ...newExperiment(id), ...more });
const all = [
  experiment(0, { status: "DONE", hyperparameters: { lr: 0.1, name: "adam" }, last: { "val/f1": 0.5 } }),
  experiment(1, { status: "FAILED", hyperparameters: { lr: 0.01, name: "sgd" }, error: "<b>overflow</b>" }),
  experiment(2, { status: "DONE", hyperparameters: { lr: 0.001, name: "adamw" }, last: { "val/f1": NaN } }),
  experiment(10, { status: "RUNNING", hyperparameters: { lr: 1e-4, name: "lion" }, last: { "val/f1": 0.9 } }),
];
const ids = (list: Experiment[]) => list.map(({ id }) => id);
const test = (text: string, cell: Cell) => {
  const found = parseCondition(text);
  if (!found.ok) throw new Error(found.error);
  return found.value(cell);
};

describe("best scores", () => {
  const best = (id: number, low: number, high: number) =>
    experiment(id, {
      last: { "val/loss": high, "val/f1": low },
      best: { "val/loss": { min: [2, low], max: [1, high] }, "val/f1": { min: [1, low], max: [3, high] } },
    });
  const both = [best(0, 0.1, 0.9), best(1, 0.3, 0.4)];
  const modes = (score: string) => (score === "val/loss" ? "min" : "max");
  it("are each score's own, whatever a run monitors", () => {
    expect(ids(filterExperiments(both, "", { "best val/loss": "<0.2" }, modes))).toEqual([0]);
    expect(ids(filterExperiments(both, "", { "best val/f1": ">0.5" }, modes))).toEqual([0]);
    expect(ids(sortExperiments(both, "-best val/loss", modes))).toEqual([1, 0]);
  });
  it("are not what an object has from birth", () => {
    for (const name of ["constructor", "best constructor", "toString"])
      expect(ids(filterExperiments(both, "", { [name]: "=" }))).toEqual([0, 1]);
  });
  it("of a number that is seen are found by it", () => {
    expect(ids(filterExperiments(all, "", { lr: "1e-4" }))).toEqual([10]);
    expect(ids(filterExperiments(all, "", { experiment_id: "1" }))).toEqual([1]);
    expect(ids(filterExperiments(all, "lr=1e-4", {}))).toEqual([10]);
  });
});

describe("text filters", () => {
  it("find what is None by its word", () => {
    const some = [
      experiment(0, { hyperparameters: { momentum: null } }),
      experiment(1, { hyperparameters: { momentum: 0.5 } }),
    ];
    for (const text of ["none", "momentum=None", "null"])
      expect(ids(filterExperiments(some, text, {}))).toEqual([0]);
  });
  it("want all words, in any order and case", () => {
    expect(ids(filterExperiments(all, "ADAM done", {}))).toEqual([0, 2]);
    expect(ids(filterExperiments(all, "overflow", {}))).toEqual([1]);
    expect(ids(filterExperiments(all, "#10", {}))).toEqual([10]);
  });
  it("take regular expressions, with flags", () => {
    expect(ids(filterExperiments(all, "/name=adam$|lion/", {}))).toEqual([0, 10]);
    expect(ids(filterExperiments(all, "/DONE/", {}))).toEqual([0, 2]);
  });
  it("say what is wrong and then hide nothing", () => {
    expect(parseText("/(/").ok).toBe(false);
    expect(filterExperiments(all, "/(/", { lr: "<" }).length).toBe(4);
  });
});

describe("conditions of a column", () => {
  it.each([
    ["<0.01", 0.001, true],
    ["<0.01", 0.01, false],
    [">= 3", 3, true],
    ["1e-4..1e-2", 0.005, true],
    ["0.1..0.2", 0.3, false],
    ["1, 3", 3, true],
    ["1, 3", 2, false],
    ["=DONE", "done", true],
    ["!=DONE", "FAILED", true],
    ["=0.1", 0.1, true],
    ["=", null, true],
    ["/^ad/", "adam", true],
    ["dam", "adam", true],
    ["<1", null, false],
    ["none", null, true],
    ["None", null, true],
    ["null", null, true],
    ["(none)", null, true],
    ["=None", null, true],
    ["!=none", null, false],
    ["!=none", 0.5, true],
    ["none", 0.5, false],
    ["on", null, false],
    ["none, 0.5", null, true],
    ["none, 0.5", 0.5, true],
    ["none, 0.5", 0.9, false],
    ["(none), <=0.5", 0.4, true],
    ["(none), <=0.5", 0.6, false],
    ["1, 3..5", 4, true],
    ["/^(\\(none\\)|sgd)$/", null, true],
    ["/^(|sgd)$/", null, true],
    ["/a/", null, false],
    ["=adam", '{"component":"adam","learning_rate":0.1}', true],
    ["adam(learning_rate=0.1)", '{"component":"adam","learning_rate":0.1}', true],
    ["=sgd", '{"component":"adam","learning_rate":0.1}', false],
    ["=[64, 32]", "[64,32]", true],
    ["=True", "true", true],
    ["3.84335e-4", 3.8433531869183315e-4, true],
    ["3.8433531869183315e-4", 3.8433531869183315e-4, true],
    ["3.84336e-4", 3.8433531869183315e-4, false],
    ["<1", "x", false],
  ] as [string, Cell, boolean][])("%s of %s is %s", (text, cell, wanted) => {
    expect(test(text, cell)).toBe(wanted);
  });
  it.each(["<", ">x", "/[/", "1..2e"])("%s cannot be read", (text) => {
    expect(parseCondition(text).ok).toBe(false);
  });
  it("apply to hyperparameters and scores", () => {
    expect(ids(filterExperiments(all, "", { lr: "0.001..0.01", status: "=DONE" }))).toEqual([2]);
    expect(ids(filterExperiments(all, "", { "val/f1": ">0.6" }))).toEqual([10]);
  });
});

describe("sorting", () => {
  it("puts what has no value last either way, and numbers by size", () => {
    expect(ids(sortExperiments(all, "val/f1"))).toEqual([0, 10, 1, 2]);
    expect(ids(sortExperiments(all, "-val/f1"))).toEqual([10, 0, 1, 2]);
    expect(ids(sortExperiments(all, "-experiment_id"))).toEqual([10, 2, 1, 0]);
  });
});

describe("times", () => {
  const at = (text: string) => new Date(text).getTime();
  const ms = at("2026-01-31T14:05:09");
  const today = new Date();
  today.setHours(14, 5, 9);
  it.each([
    ["14:0", ms, true],
    ["15:", ms, false],
    ["2026-01-31", ms, true],
    ["=2026-01-31 14:05:09", ms, true],
    ["!=2026-01-31 14:05:09", ms, false],
    ["> 2026-01-31", ms, true],
    ["> 2026-01-31 14:06", ms, false],
    ["<= 2026-01-31T14:05:09", ms, true],
    ["< 2026-01-31", ms, false],
    ["2026-01-01..2026-02-01", ms, true],
    ["2026-02-01..2026-03-01", ms, false],
    ["/^2026.*09$/", ms, true],
    ["> 9:00", today.getTime(), true],
    ["< 14:05", today.getTime(), false],
    ["=14:05:09", today.getTime(), true],
    ["> 2026-01-01", null, false],
  ] as [string, Cell, boolean][])("%s of %s is %s", (text, cell, wanted) => {
    const found = parseFilter("started", text);
    expect(found.ok && found.value(cell)).toBe(wanted);
  });
  it.each(["> noon", "2026-01-01..x", "< 12"])("%s cannot be read", (text) => {
    expect(parseFilter("finished", text)).toMatchObject({ ok: false });
  });
});

describe("refits", () => {
  const refit = experiment(3, { refit: { experiments: [0, 1] } });
  it("are found, and are no candidates", () => {
    expect(ids(filterExperiments([...all, refit], "refit", {}))).toEqual([3]);
    expect(ids(filterExperiments([...all, refit], "", { refit: "=yes" }))).toEqual([3]);
    expect(ids(candidates([...all, refit]))).toEqual([0, 1, 2, 10]);
  });
});

describe("a column that a run has not", () => {
  it("is foreign, but not a score before the first result", () => {
    expect(
      ["lr", "name", "val/f1", "best val/f1", "status", "refit"].filter((one) => isForeign(one, all)),
    ).toEqual([]);
    expect(isForeign("width", all)).toBe(true);
    expect(isForeign("constructor", all)).toBe(true);
    expect(isForeign("val/gone", all)).toBe(false);
    expect(isForeign("val/gone", [...all, experiment(11, { epochs: 1 })])).toBe(true);
    expect(isForeign("width", [])).toBe(false);
  });
});
