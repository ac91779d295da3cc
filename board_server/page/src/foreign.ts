/** What an address asks for that a run has not: it may come from another run, or from another version. */

import { isForeign } from "./filter";
import { namesIn, parseRule } from "./rule";
import type { Experiment } from "./run_state";
import { DEFAULTS, type ViewState } from "./view_state";

export interface Foreign {
  /** What is left out, by the part of the state that asks for it. */
  columns: string[];
  ranges: string[];
  show: string[];
  group: string[];
  sort: string[];
  by: string[];
  /** The rule's names, which stay in it. */
  rule: string[];
}

export function foreignIn(view: ViewState, experiments: readonly Experiment[]): Foreign {
  const rule = view.rule ? parseRule(view.rule) : null;
  const foreign = (names: readonly string[]) => names.filter((name) => name && isForeign(name, experiments));
  return {
    columns: foreign(Object.keys(view.columns)),
    ranges: foreign(Object.keys(view.ranges)),
    show: foreign(view.show ?? []),
    group: foreign(view.group === "(all)" ? [] : [view.group]),
    sort: foreign([view.sort.replace(/^-/, "")]),
    by: foreign([view.by]),
    rule: rule?.ok ? foreign([...new Set(namesIn(rule.value))]) : [],
  };
}

/** The state without what is foreign; the same object where nothing is. */
export function withoutForeign(
  view: ViewState,
  { columns, ranges, show, group, sort, by }: Foreign,
): ViewState {
  if (![columns, ranges, show, group, sort, by].some((names) => names.length)) return view;
  const shown = view.show?.filter((name) => !show.includes(name)) ?? [];
  return {
    ...view,
    columns: Object.fromEntries(Object.entries(view.columns).filter(([name]) => !columns.includes(name))),
    ranges: Object.fromEntries(Object.entries(view.ranges).filter(([name]) => !ranges.includes(name))),
    show: shown.length ? shown : null,
    group: group.length ? DEFAULTS.group : view.group,
    sort: sort.length ? DEFAULTS.sort : view.sort,
    by: by.length ? DEFAULTS.by : view.by,
  };
}
