/** Experiments by a hyperparameter's value, for means over them. */

import { type Cell, candidates, cellOf, NONE } from "./filter";
import { apart } from "./format";
import { labelsOf } from "./labels";
import type { Experiment } from "./run_state";
import { bins as binsOf, groupBy, MAX_BINS } from "./statistics";

export type Group = [label: string, members: Experiment[]];

/** Whether a hyperparameter has so many numbers that they are put into bins. */
export function isBinned(experiments: readonly Experiment[], group: string): boolean {
  const cells = experiments.map((one) => cellOf(one, group));
  return (
    new Set(cells.filter((cell) => typeof cell === "number")).size > MAX_BINS &&
    !cells.some((cell) => typeof cell === "string")
  );
}

/**
 * Groups, their values in order, so that a value has the same colour in all charts. More than eight numbers are put into
 * `bins` of about equal count (0: none are), named by their least and greatest value.
 */
export function groupsOf(experiments: readonly Experiment[], group: string, bins = 0): Group[] {
  const members = candidates(experiments);
  if (group === "(all)") return members.length ? [["all experiments", members]] : [];
  if (bins && isBinned(members, group)) return binned(members, group, bins);
  const groups = groupBy(members, (experiment) => cellOf(experiment, group));
  const label = labelsOf(members.map(({ hyperparameters }) => hyperparameters[group]));
  const text = (cell: Cell, { hyperparameters }: Experiment) =>
    cell === null
      ? NONE
      : Object.hasOwn(hyperparameters, group)
        ? label(hyperparameters[group])
        : String(cell);
  return [...groups]
    .map(([cell, all]): [Cell, string, Experiment[]] => [cell, `${group} = ${text(cell, all[0]!)}`, all])
    .sort(
      ([a, one], [b, other]) => Number(a) - Number(b) || one.localeCompare(other, "en", { numeric: true }),
    )
    .map(([, words, all]) => [words, all]);
}

function binned(members: readonly Experiment[], group: string, bins: number): Group[] {
  const cells = members.map((one) => cellOf(one, group));
  const numbers = binsOf(cells as (number | null)[], bins);
  const binOf = new Map(members.map((one, i) => [one, numbers[i]!]));
  const groups = groupBy(members, (one) => binOf.get(one)!);
  const bin = (key: number | string) => (typeof key === "number" ? key : -1);
  const sorted = [...groups].sort(([a], [b]) => bin(a) - bin(b));
  const ends = sorted.flatMap(([key, all]) => {
    const values = typeof key === "number" ? all.map((one) => cellOf(one, group) as number) : [0];
    return [Math.min(...values), Math.max(...values)];
  });
  const texts = apart(ends, 4);
  return sorted.map(([key, all], i) => [
    `${group} = ${typeof key === "number" ? [...new Set(texts.slice(2 * i, 2 * i + 2))].join("..") : NONE}`,
    all,
  ]);
}
