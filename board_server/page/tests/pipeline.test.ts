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

describe("a pipeline that is wider than its place", () => {
  const section = (component: string) => ({ component });
  const config = Object.fromEntries(
    ["dataset", "validation", "encoding", "loader", "model", "loss", "metrics", "optimizer"].map((name) => [
      name,
      section(name),
    ]),
  );
  it.each([1, 2, 3, 5])("goes on in rows below, %i side by side", (across) => {
    const { boxes, width, height } = layout(config, across);
    expect(new Set(boxes.map(({ x }) => x)).size).toBe(across);
    for (const box of boxes) {
      expect(box.x + 178).toBeLessThanOrEqual(width);
      expect(box.y + box.height).toBeLessThanOrEqual(height);
      for (const other of boxes) {
        const apart =
          Math.abs(box.x - other.x) >= 178 ||
          box.y + box.height <= other.y ||
          other.y + other.height <= box.y;
        expect(box === other || apart).toBe(true);
      }
    }
  });
});
