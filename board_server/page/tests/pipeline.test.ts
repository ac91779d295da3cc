import { describe, expect, it } from "vitest";
import { isSwept, layout } from "../src/pipeline";

describe("a pipeline", () => {
  it("has a box of what stands in no section, after all that do", () => {
    const { boxes } = layout({
      num_epochs: 3,
      seed: 0,
      refit: null,
      model: { component: "mlp", features: [4] },
    });
    expect(boxes.map(({ section, lines }) => [section, lines.map(({ path }) => path)])).toEqual([
      ["model", ["model.features"]],
      ["", ["num_epochs", "seed"]],
    ]);
  });
  it("marks what is swept, also deep inside and at the top", () => {
    const swept = { seed: 1, "optimizer.component": "adam", "dataset.dataset.keep": 3 };
    const paths = ["seed", "num_epochs", "optimizer.component", "dataset.dataset", "dataset.data", "model"];
    expect(paths.filter((path) => isSwept(path, swept))).toEqual([
      "seed",
      "optimizer.component",
      "dataset.dataset",
    ]);
  });
});
