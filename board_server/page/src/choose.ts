/** What a rule chooses: experiments, or candidates whose score is the mean over their members. */

import { lastEpoch } from "./epoch_ranges";
import {
  type Cell,
  COMPARE,
  candidates,
  cellOf,
  isNumber,
  type ModeOf,
  numberOf,
  occursIn,
  parseRegex,
  sameCell,
} from "./filter";
import type { Condition, Rule } from "./rule";
import type { Experiment } from "./run_state";
import { groupBy } from "./statistics";

export interface Member {
  experiment: Experiment;
  score: number | null; // null: it has no finite one
  epoch: number;
}

export interface Chosen {
  members: Member[]; // in the order of their ids; one where a rule averages over nothing
  score: number;
  deviation: number | null; // of a sample; null of one value
  epoch: number; // the upper median of the members'
  scored: number; // so many of them have a score …
  of: number; // … of all that the candidate has in the run, whatever filters hide
}

function holds(condition: Condition, cell: (name: string) => Cell): boolean {
  if (condition.kind === "and") return condition.parts.every((part) => holds(part, cell));
  if (condition.kind === "or") return condition.parts.some((part) => holds(part, cell));
  if (condition.kind === "not") return !holds(condition.part, cell);
  const found = cell(condition.name);
  if (condition.kind === "in") return condition.values.some((value) => sameCell(found, value));
  const { op, value } = condition;
  if (op === "=") return sameCell(found, value);
  if (op === "!=") return !sameCell(found, value);
  if (op === "~") {
    const regex = parseRegex(value);
    return regex.ok && occursIn(regex.value, `/${value}/`, found);
  }
  return isNumber(found) && COMPARE[op]!(numberOf(found), numberOf(value));
}

/** The sum without the rounding of its parts (Shewchuk), as the engine's: folds in another order must stay a tie. */
function exactSum(values: readonly number[]): number {
  const parts: number[] = [];
  for (let x of values) {
    let kept = 0;
    for (let y of parts) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low) parts[kept++] = low;
      x = high;
    }
    parts.length = kept;
    parts.push(x);
  }
  return parts.reduce((sum, part) => sum + part, 0);
}

const mean = (values: readonly number[]) => exactSum(values) / values.length;

/** Mean and sample deviation; null of one value. */
export function moments(values: readonly number[]): { mean: number; deviation: number | null } {
  const middle = mean(values);
  const squares = values.map((value) => (value - middle) ** 2);
  return {
    mean: middle,
    deviation: values.length > 1 ? Math.sqrt(exactSum(squares) / (values.length - 1)) : null,
  };
}

/** All that experiments of one candidate agree in. */
function candidateOf({ fold, hyperparameters }: Experiment, over: readonly string[]): string {
  const names = Object.keys(hyperparameters).filter((name) => !over.includes(name));
  const values = names.sort().map((name) => [name, hyperparameters[name]]);
  return JSON.stringify([over.includes("fold") ? null : fold, values]);
}

/** A member's score and its epoch, as a rule asks for it. */
export function memberOf(rule: Rule, direction: "max" | "min", experiment: Experiment): Member {
  const best = experiment.best[rule.by]?.[direction];
  const [epoch, score] =
    rule.at === "best"
      ? (best ?? [0, NaN])
      : [lastEpoch(experiment.epochRanges), experiment.last[rule.by] ?? NaN];
  return { experiment, score: Number.isFinite(score) ? score : null, epoch };
}

export function summary(members: Member[], of: number, byFold = false): Chosen {
  const scored = members.filter((member) => member.score !== null);
  // As the engine: seeds within a fold first, then folds.
  const parts = byFold ? [...groupBy(scored, (m) => m.experiment.fold).values()] : scored.map((m) => [m]);
  const { mean: score, deviation } = moments(parts.map((part) => mean(part.map(({ score }) => score!))));
  return {
    members,
    score,
    deviation,
    epoch: scored.map(({ epoch }) => epoch).sort((a, b) => a - b)[scored.length >> 1] ?? 0,
    scored: scored.length,
    of,
  };
}

/**
 * Choose by a rule among `pool`, a part of `all`. Refits and what has no finite score are never chosen; a candidate of
 * which a member has none comes after all that are complete; of equal ones the smaller id comes first.
 */
export function applyRule(
  rule: Rule,
  pool: readonly Experiment[],
  modeOf: ModeOf,
  all: readonly Experiment[] = pool,
): Chosen[] {
  const direction = rule.mode ?? modeOf(rule.by);
  const directionOf: ModeOf = (score) => (score === rule.by ? direction : modeOf(score));
  const sign = direction === "max" ? -1 : 1;
  const { over, where } = rule;
  const fits = new Set(
    pool.filter((one) => !where || holds(where, (name) => cellOf(one, name, directionOf))),
  );
  const everything = candidates(all).sort((a, b) => a.id - b.id);
  const byFold = over.includes("fold");
  // Each run has folds of its own.
  const foldsOf = (some: readonly Experiment[]) =>
    groupBy(
      [...groupBy(some, ({ run, fold }) => JSON.stringify([run, fold])).values()].map(([one]) => one!),
      ({ run }) => run,
    );
  const folds = byFold ? foldsOf(everything) : null;
  const found: Chosen[] = [];
  for (const group of groupBy(everything, (one) =>
    over.length ? candidateOf(one, over) : one.id,
  ).values()) {
    const members = group.filter((one) => fits.has(one)).map((one) => memberOf(rule, direction, one));
    if (members.every(({ score }) => score === null)) continue;
    let missing = 0;
    if (folds) for (const [run, some] of foldsOf(group)) missing += folds.get(run)!.length - some.length;
    const hasFolds = byFold && group.some(({ fold }) => fold !== null);
    found.push(summary(members, group.length + missing, hasFolds));
  }
  const incomplete = ({ scored, of }: Chosen) => Number(scored < of);
  found.sort(
    (a, b) =>
      incomplete(a) - incomplete(b) ||
      sign * (a.score - b.score) ||
      a.members[0]!.experiment.id - b.members[0]!.experiment.id,
  );
  if (rule.top === null) return found;
  const counts = new Map<Cell, number>();
  return found.filter(({ members }) => {
    const key = rule.per === null ? null : cellOf(members[0]!.experiment, rule.per, directionOf);
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count <= rule.top!;
  });
}
