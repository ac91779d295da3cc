/** What nested cross validation estimates, as the engine does: mlgym_jax/search/selection.py. */

import { applyRule, moments, summary } from "./choose";
import { candidates } from "./filter";
import { member } from "./json";
import type { Experiment, Run } from "./run_state";

interface Nested {
  monitor: string;
  mode: "max" | "min";
  inner: number; // folds
  /** The score of the outer parts. */
  test: string;
}

/** How a run selects on inner folds; null where it does not. */
export function nestedOf(run: Run): Nested | null {
  const validation = member(run.config ?? undefined, "validation");
  const [kind, monitor, mode, inner] = ["component", "monitor", "mode", "inner_folds"].map((name) =>
    member(validation, name),
  );
  if (!/^(validation\/)?nested_cross_validation$/.test(String(kind)) || typeof monitor !== "string")
    return null;
  return {
    monitor,
    mode: mode === "min" ? "min" : "max",
    inner: typeof inner === "number" ? inner : 3,
    test: monitor.replace(/^val\//, "test/"),
  };
}

export interface Estimate {
  mean: number;
  deviation: number | null; // of a sample, over the outer folds
  folds: number;
}

/**
 * The score on the outer parts of what each outer fold's inner folds select, after the epochs that were best on these.
 * `testAt` is an experiment's outer score after an epoch. Null while an outer fold has not all of its scores.
 */
export function nestedEstimate(
  run: Run,
  { monitor, mode, inner }: Nested,
  testAt: (id: number, epoch: number) => number,
): Estimate | null {
  const outer = new Map<number, Experiment[]>();
  for (const one of candidates(run.experiments.values())) {
    const fold = Math.floor((one.fold ?? 0) / inner);
    outer.set(fold, [...(outer.get(fold) ?? []), one]);
  }
  const scores: number[] = [];
  const rule = {
    top: 1,
    by: monitor,
    mode,
    at: "best",
    over: ["fold", "seed"],
    where: null,
    per: null,
  } as const;
  for (const members of outer.values()) {
    const [selected] = applyRule({ ...rule, over: [...rule.over] }, members, () => mode);
    if (!selected || selected.scored < selected.of) return null;
    const tested = selected.members.map((one) => ({ ...one, score: testAt(one.experiment.id, one.epoch) }));
    if (!tested.every(({ score }) => Number.isFinite(score))) return null;
    scores.push(summary(tested, tested.length, true).score);
  }
  return scores.length ? { ...moments(scores), folds: scores.length } : null;
}
