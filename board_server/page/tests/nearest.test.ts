import { expect, it } from "vitest";
import { nearest } from "../src/nearest";

const names = [
  "val/accuracy",
  "train/accuracy",
  "optimizer.learning_rate",
  "optimizer.weight_decay",
  "status",
  "seed",
];

it.each([
  ["learning_rate", "optimizer.learning_rate"],
  ["learning_rat", "optimizer.learning_rate"],
  ["accuracy", "val/accuracy"],
  ["val/acuracy", "val/accuracy"],
  ["Status", "status"],
  ["sed", "seed"],
  ["optimiser.learning_rate", "optimizer.learning_rate"],
  ["momentum", null],
  ["x", null],
])("by %j somebody meant %j", (wanted, meant) => {
  expect(nearest(wanted, names)).toBe(meant);
});
