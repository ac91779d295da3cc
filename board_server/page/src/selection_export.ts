/** A selection as a file: the rule, what it chose, and every score that counted. */

import type { Chosen } from "./choose";
import { csv } from "./format";
import type { JsonObject } from "./json";
import type { Rule } from "./rule";
import type { Run } from "./run_state";
import type { ViewState } from "./view_state";

const without = (values: JsonObject, names: readonly string[]): JsonObject =>
  Object.fromEntries(Object.entries(values).filter(([name]) => !names.includes(name)));

export function selectionJson(
  run: Run,
  { q, columns, compare }: ViewState,
  text: string,
  rule: Rule,
  mode: "max" | "min",
  chosen: readonly Chosen[],
): string {
  const several = chosen.some(({ members: [one] }) => one?.experiment.run);
  const members = (one: Chosen) =>
    one.members.map(({ experiment, score, epoch }) => ({
      ...(experiment.run && { grid_search_id: experiment.run }),
      experiment_id: experiment.own,
      fold: experiment.fold,
      score,
      epoch,
      hyperparameters: experiment.hyperparameters,
    }));
  return JSON.stringify(
    {
      format: "mlgym_jax.selection",
      version: 1,
      ...(several
        ? { grid_search_ids: run.id.split(",") }
        : { grid_search_id: run.id, config_hash: run.configHash, event_id: run.eventId }),
      rule: compare ? null : text,
      score: rule.by,
      mode,
      at: rule.at,
      filter: { q, columns },
      chosen: chosen.flatMap((one): object[] => {
        if (!rule.over.length || compare) return members(one);
        const { score: mean, deviation, scored, of, epoch } = one;
        const hyperparameters = without(one.members[0]!.experiment.hyperparameters, rule.over);
        return [{ mean, deviation, scored, of, epoch, hyperparameters, members: members(one) }];
      }),
    },
    null,
    2,
  );
}

/** One line an experiment; of candidates with their place, mean and deviation in front. */
export function selectionCsv(swept: readonly string[], rule: Rule, chosen: readonly Chosen[]): string {
  const averaged = rule.over.length > 0;
  return csv([
    [
      ...(averaged ? ["place", "mean", "deviation", "scored", "of"] : []),
      ...["experiment_id", "fold", ...swept, rule.by, "epoch"],
    ],
    ...chosen.flatMap(({ members, score: mean, deviation, scored, of }, i) =>
      members.map(({ experiment: e, score, epoch }) => [
        ...(averaged ? [i + 1, mean, deviation, scored, of] : []),
        e.own,
        e.fold,
        ...swept.map((name) => e.hyperparameters[name]),
        score,
        epoch,
      ]),
    ),
  ]);
}
