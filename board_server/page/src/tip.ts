/** What a chart says of the point under the cursor. */

import { css } from "./colours";
import { formatDuration, formatNumber } from "./format";
import type { PlotModel } from "./plot_model";
import type { Line } from "./raster";

function element(tag: "b" | "small" | "span", text: string): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** Fill `tip` with a line's name and its value at point `i`. */
export function showTip(tip: HTMLElement, model: PlotModel, line: Line, i: number): void {
  const x = line.x[i]! * line.kx + line.ox;
  const value = line.y[i]!;
  const logged = line.raw?.[i];
  const swatch = document.createElement("i");
  swatch.style.background = css(line.rgb);
  const parts = [
    ...(line.epochs?.length ? [`epoch ${line.epochs[i]}`] : []),
    model.xKind === "time" ? formatDuration(x * 1000) : `${model.xKind} ${formatNumber(x)}`,
    ...(logged === undefined ? [] : [`smoothed; logged ${formatNumber(logged, 5)}`]),
    ...(line.count ? [`mean of ${formatNumber(line.count[i]!)} of ${formatNumber(line.members)}`] : []),
  ];
  const made = [
    swatch,
    element("b", Number.isFinite(value) ? formatNumber(value, 5) : `diverged (${formatNumber(value)})`),
    element("small", parts.join(" · ")),
    element("span", model.label(line.id)),
  ];
  const same = made.map(({ textContent }) => textContent).join("") === tip.textContent;
  if (!same) tip.replaceChildren(...made); // else a screen reader would say it again with each update
}
