/** `rule_cases.json`, as the engine reads it, too (tests/test_rule.py): a rule chooses the same wherever it is read. */

import { describe, expect, it } from "vitest";
import { applyRule } from "../src/choose";
import { textsOf, toCell } from "../src/filter";
import { type Json, type JsonObject, parseJson } from "../src/json";
import { parseRule } from "../src/rule";
import { newExperiment } from "../src/run_state";
import text from "./rule_cases.json?raw";

interface Cases {
  texts: { value: Json; texts: string[] }[];
  experiments: JsonObject[];
  rules: { where: string; chosen?: number[] }[];
}

const { texts, experiments, rules }: Cases = parseJson(text);
const all = experiments.map((hyperparameters, id) => ({
  ...newExperiment(id),
  hyperparameters,
  best: { "val/f1": { min: null, max: [1, -id] as [number, number] } },
}));

describe("what rules and filters compare", () => {
  it.each(texts)("has the texts by which the engine finds it: $value", ({ value, texts }) => {
    expect(textsOf(toCell(value))).toEqual(texts);
  });
  it.each(rules)("is chosen as the engine chooses: $where", ({ where, chosen }) => {
    const found = parseRule(`all by val/f1 max where ${where}`);
    const ids = found.ok
      ? applyRule(found.value, all, () => "max").map(({ members }) => members[0]!.experiment.id)
      : undefined;
    expect(ids).toEqual(chosen);
  });
});
