import { describe, expect, it } from "vitest";
import { parseCondition } from "../src/filter";
import { scaleOf } from "../src/scales";

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
