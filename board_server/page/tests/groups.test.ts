import { describe, expect, it } from "vitest";
import { groupsOf, isBinned } from "../src/groups";
import { type Experiment, newExperiment } from "../src/run_state";

const withRates = (rates: (number | string | null)[]): Experiment[] =>
  rates.map((lr, id) => ({ ...newExperiment(id), hyperparameters: { lr } }));
const shown = (rates: (number | string | null)[], bins: number) =>
  groupsOf(withRates(rates), "lr", bins).map(([label, members]) => [label, members.map(({ id }) => id)]);

describe("groups of a drawn number", () => {
  it("are bins of equal count, named by their ends", () => {
    expect(shown([9, 8, 7, 6, 5, 4, 3, 2, 1], 3)).toEqual([
      ["lr = 1..3", [6, 7, 8]],
      ["lr = 4..6", [3, 4, 5]],
      ["lr = 7..9", [0, 1, 2]],
    ]);
  });
  it("have names that tell them apart, whole numbers with all digits", () => {
    const seeds = Array.from({ length: 9 }, (_, i) => 20240131 + i);
    expect(shown(seeds, 3).map(([label]) => label)).toEqual([
      "lr = 20240131..20240133",
      "lr = 20240134..20240136",
      "lr = 20240137..20240139",
    ]);
    const near = seeds.map((seed) => seed / 1e8);
    expect(new Set(shown(near, 3).map(([label]) => label)).size).toBe(3);
    expect(shown(near, 3)[0]![0]).toBe("lr = 0.20240131..0.20240133");
  });
  it("have what has no value apart, first", () => {
    const found = shown([null, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 2);
    expect(found).toEqual([
      ["lr = (none)", [0]],
      ["lr = 1..5", [1, 2, 3, 4, 5]],
      ["lr = 6..10", [6, 7, 8, 9, 10]],
    ]);
  });
  it("do not tear equal values apart", () => {
    const found = shown([1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9], 5);
    const withOne = found.filter(([, ids]) => (ids as number[]).some((id) => id < 6));
    expect(withOne.length).toBe(1);
  });
  it("are the values themselves where they are few, words, or wanted so", () => {
    expect(shown([3, 1, 2, 1], 2).map(([label]) => label)).toEqual(["lr = 1", "lr = 2", "lr = 3"]);
    const many = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    expect(shown(many, 0).length).toBe(9);
    expect(isBinned(withRates(many), "lr")).toBe(true);
    expect(isBinned(withRates([...many, "adam"]), "lr")).toBe(false);
  });
});
