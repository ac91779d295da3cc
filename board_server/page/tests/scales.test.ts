import { describe, expect, it } from "vitest";
import { parseCondition } from "../src/filter";
import { scaleOf, spread } from "../src/scales";

const kept = (values: (number | string | null)[], low: number, high: number) => {
  const condition = parseCondition(scaleOf(values).between(low, high));
  return condition.ok ? values.filter((value) => condition.value(value)) : condition.error;
};

describe("a part of an axis", () => {
  it("keeps the values in it, however close they are", () => {
    expect(kept([0.999401, 0.999403, 0.999405], 0.4, 0.6)).toEqual([0.999403]);
    expect(kept([1e-4, 1e-3, 1e-2], 0.4, 1.1)).toEqual([1e-3, 1e-2]);
    expect(kept([-3, 0, 5], -0.1, 0.5)).toEqual([-3, 0]);
  });
  it("keeps what has no value, where it stands among words", () => {
    expect(kept(["adam", null, "sgd"], -0.1, 0.1)).toEqual([null]);
    expect(kept(["adam", null, "sgd"], 0.4, 1.1)).toEqual(["adam", "sgd"]);
    expect(kept(["[]", "[32]"], 0.5, 1.1)).toHaveLength(1);
  });
});

describe("the numbers of an axis", () => {
  it("are told apart", () => {
    const whole = Array.from({ length: 14 }, (_, i) => 1_000_000 + i);
    expect(scaleOf(whole).ticks.map(([, text]) => text)).toEqual(["1000000", "1000013", "1.0000065e6"]);
    const near = scaleOf([0.1234561, 0.1234562, 0.1234563]).ticks;
    expect(near.map(([, text]) => text)).toEqual(["0.1234561", "0.1234562", "0.1234563"]);
  });
});

describe("what has no value", () => {
  it("has a place of its own beside numbers, and is found by it", () => {
    for (const values of [
      [null, 0.5, 0.9],
      [null, 1e-4, 1],
      [NaN, 3, 7],
      [null, 5],
    ]) {
      const { place, ticks } = scaleOf(values);
      const places = values.map(place);
      expect(new Set(places).size).toBe(values.length);
      expect(places[0]).toBe(0);
      expect(Math.min(...places.slice(1))).toBeGreaterThan(0.1);
      expect(Math.max(...places.slice(1))).toBeLessThanOrEqual(1);
      expect(ticks).toContainEqual([0, "(none)"]);
    }
    expect(kept([null, 0.5, 0.9], -0.1, 0.05)).toEqual([null]);
    expect(kept([null, 0.5, 0.9], -0.1, 0.5)).toEqual([null, 0.5]);
    expect(kept([null, 0.5, 0.9], 0.05, 1.1)).toEqual([0.5, 0.9]);
    expect(kept([null, 0.5, 0.9], 0.5, 1.1)).toEqual([0.9]);
    expect(kept([null, 0.5, 0.7, 0.9], 0.4, 0.8)).toEqual([0.7]);
  });
  it("is a word among words", () => {
    const { ticks } = scaleOf(["adam", null], () => "Adam");
    expect(ticks).toEqual([
      [0, "(none)"],
      [1, "Adam"],
    ]);
  });
});

describe("the texts of an axis", () => {
  it("do not lie over each other: its ends, and what fits between", () => {
    const ticks = scaleOf([0, 1, 2, 3, 1000]).ticks;
    expect(spread(ticks, 200, () => 14).map(([, text]) => text)).toEqual(["0", "1000"]);
    expect(spread(ticks, 100_000, () => 14)).toHaveLength(5);
  });
});
