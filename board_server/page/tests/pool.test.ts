import { describe, expect, it } from "vitest";
import { fixedApart, pooledId, valueAt } from "../src/pool";

const config = (more: object) => ({
  name: "one",
  metrics: { f1: { component: "f1" } },
  optimizer: { component: "adam", learning_rate: { sweep: "absolute", values: [1, 2] } },
  model: { features: [64, 32] },
  num_epochs: 9,
  ...more,
});

describe("several runs as one", () => {
  it("have what their configs fix differently as hyperparameters, but for names and what is only recorded", () => {
    const others = config({ name: "two", metrics: {}, model: { features: [64] }, num_epochs: 3 });
    expect(fixedApart([config({}), others], [])).toEqual(["model.features", "num_epochs"]);
    expect(fixedApart([config({}), others], ["model"])).toEqual(["num_epochs"]);
    expect(fixedApart([config({})], [])).toEqual([]);
  });
  it("take what one of them does not sweep from its config", () => {
    expect(valueAt(config({}), "model.features.1")).toBe(32);
    expect(valueAt(config({}), "optimizer.momentum")).toBeUndefined();
    expect(valueAt(config({}), "num_epochs.x")).toBeUndefined();
  });
  it("number their experiments so that a further run changes none of them", () => {
    expect([pooledId(0, 3), pooledId(1, 0)]).toEqual([1_000_003, 2_000_000]);
  });
});
