/** What an address asks for that a run has not: it may come from another run, or from another version. */

import { isForeign } from "./filter";
import { namesIn, parseRule } from "./rule";
import type { Experiment } from "./run_state";
import { byName, DEFAULTS, type ViewState } from "./view_state";

export interface Foreign {
  /** What is left out, by the part of the state that asks for it. */
  columns: string[];
  ranges: string[];
  show: string[];
  group: string[];
  sort: string[];
  by: string[];
  colour: string[];
  x: string[];
  pin: string[];
  map: string[];
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
    colour: foreign(view.colour === "rank" ? [] : [view.colour]),
    x: foreign(view.x.includes("/") ? [view.x] : []),
    pin: foreign(view.pin),
    map: foreign([...new Set([view.mapX, view.mapY])]),
    rule: rule?.ok ? foreign([...new Set(namesIn(rule.value))]) : [],
  };
}

/** The state without what is foreign; the same object where nothing is. */
export function withoutForeign(view: ViewState, foreign: Foreign): ViewState {
  const { rule: _kept, ...left } = foreign;
  if (!Object.values(left).some((names) => names.length)) return view;
  const { columns, ranges, show, group, sort, by, colour, x, pin, map } = left;
  const shown = view.show?.filter((name) => !show.includes(name)) ?? [];
  return {
    ...view,
    columns: byName(Object.entries(view.columns).filter(([name]) => !columns.includes(name))),
    ranges: Object.fromEntries(Object.entries(view.ranges).filter(([name]) => !ranges.includes(name))),
    show: shown.length ? shown : null,
    group: group.length ? DEFAULTS.group : view.group,
    sort: sort.length ? DEFAULTS.sort : view.sort,
    by: by.length ? DEFAULTS.by : view.by,
    colour: colour.length ? DEFAULTS.colour : view.colour,
    ...(x.length > 0 && { x: DEFAULTS.x, zoom: DEFAULTS.zoom }),
    pin: view.pin.filter((name) => !pin.includes(name)),
    mapX: map.includes(view.mapX) ? "" : view.mapX,
    mapY: map.includes(view.mapY) ? "" : view.mapY,
  };
}
