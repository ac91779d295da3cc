import { describe, expect, it } from "vitest";
import { newExperiment } from "../src/run_state";
import { mayHave, orderScores } from "../src/score_order";

describe("the order of scores", () => {
  const names = ["train/loss", "val/loss", "val/accuracy", "train/auroc", "val/auroc", "test/auroc"];
  it("is that of metrics, validation first", () => {
    expect(orderScores(names)).toEqual([
      "val/accuracy",
      "val/auroc",
      "train/auroc",
      "test/auroc",
      "val/loss",
      "train/loss",
    ]);
  });
  it("begins with the score that experiments are ranked by, then its other splits", () => {
    expect(orderScores(names, "train/loss").slice(0, 3)).toEqual(["train/loss", "val/loss", "val/accuracy"]);
    expect(orderScores(names, "val/auroc").slice(0, 4)).toEqual([
      "val/auroc",
      "train/auroc",
      "test/auroc",
      "val/accuracy",
    ]);
  });
});

it("a score is not waited for where no experiment can get it any more", () => {
  const best = { "train/loss": { min: null, max: null } };
  const refit = { ...newExperiment(0), epochs: 3, status: "DONE", best };
  expect(mayHave([refit], "train/loss")).toBe(true);
  expect(mayHave([refit], "val/loss")).toBe(false);
  expect(mayHave([{ ...newExperiment(1), status: "FAILED" }], "val/loss")).toBe(false);
  expect(mayHave([newExperiment(1)], "val/loss")).toBe(true);
});
