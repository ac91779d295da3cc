/** Says what the address does to curves on pages that have no control for it, and removes it. */

import { setView, view } from "./app";
import { Chip } from "./controls";
import { DEFAULTS, type ViewState } from "./view_state";

const round = (end: number) => (end >= 1000 ? Math.round(end) : Number(end.toPrecision(4)));

interface ChartChipsProps {
  ungrouped?: boolean;
  /** What has no control in sight; left out: all. */
  only?: readonly (keyof ViewState)[];
}

export function ChartChips({ ungrouped, only }: ChartChipsProps) {
  const { colour, x, logx, logy, symlog, smooth, best, outliers, group, hide, hideGroups, zoom, ranges } =
    view.value;
  const parts = Object.entries(ranges).map(([name, ends]) => `y of ${name} ${ends.map(round).join("–")}`);
  const set: Partial<Record<keyof ViewState, string | false | null>> = {
    group: !ungrouped && group && (group === "(all)" ? "mean of all" : `mean by ${group}`),
    colour: !ungrouped && !group && colour && `colour by ${colour}`,
    smooth: smooth > 0 && `smoothing ${smooth.toFixed(2)}`,
    best: best && (best === "auto" ? "best so far" : `${best} so far`),
    outliers: outliers && (outliers === "cut" ? "y without outliers" : "y with all outliers"),
    hide: !ungrouped && !group && hide.length > 0 && `${hide.length} hidden`,
    hideGroups: !ungrouped && group && hideGroups.length > 0 && `${hideGroups.length} hidden`,
    x: x !== "epoch" && `x: ${x}`,
    logx: logx && "log x",
    logy: logy && !symlog && "log y",
    symlog: symlog && "symlog y",
    ranges: parts.join(", "),
    zoom: zoom && `zoom ${zoom.map(round).join("–")}`,
  };
  const chips = Object.entries(set).filter(
    ([key, text]) => text && (only?.includes(key as keyof ViewState) ?? true),
  ) as [keyof ViewState, string][];
  if (!chips.length) return null;
  return (
    <p class="active">
      {chips.map(([key, text]) => (
        <Chip key={key} title="Leave this out" onRemove={() => setView({ [key]: DEFAULTS[key] })}>
          {text}
        </Chip>
      ))}
    </p>
  );
}
