/** Which scores a view shows, and in which order. */

import type { Experiment, Run } from "./run_state";

/**
 * Metrics in the order of their names, the splits of one beside each other, validation first; before all, the score that
 * experiments are ranked by, and the other splits of its metric.
 */
export function orderScores(names: readonly string[], first: string | null = null): string[] {
  const rank = (split: string) => ["val", "train", "test"].indexOf(split) + 1 || 9;
  const part = (name: string) =>
    [name.slice(name.indexOf("/") + 1), name.slice(0, name.indexOf("/"))] as const;
  const leads = (name: string) =>
    first === null ? 0 : Number(name !== first) + Number(part(name)[0] !== part(first)[0]);
  return [...names].sort((a, b) => {
    const [[metricA, splitA], [metricB, splitB]] = [part(a), part(b)];
    const order = metricA.localeCompare(metricB) || rank(splitA) - rank(splitB);
    return leads(a) - leads(b) || order || splitA.localeCompare(splitB);
  });
}

/** The score that a run's experiments are ranked by: the wanted one, else what it monitors. */
export function rankingScore(run: Run, wanted: string): string {
  return run.scores.includes(wanted) ? wanted : (run.monitor ?? orderScores(run.scores)[0] ?? "");
}

/** Whether one of these experiments has a score, or may yet get it. */
export function mayHave(experiments: readonly Experiment[], name: string): boolean {
  return experiments.some(
    (e) => Object.hasOwn(e.best, name) || (!e.epochs && e.status !== "DONE" && e.status !== "FAILED"),
  );
}
