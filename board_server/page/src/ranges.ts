/** What part of x and y a chart shows. */

import { STROKED } from "./line_layer";
import type { PlotModel } from "./plot_model";
import { type Line, within, xOf } from "./raster";
import { extent } from "./statistics";

/** Indices of a line's points from `from` to `to` on x; where fewer than two are, also of those that lead there. */
function inside(line: Line, from: number, to: number): [number, number] {
  const [low, high] = within(line, from, to);
  const first = low < high && xOf(line, low) < from ? low + 1 : low;
  const last = low < high && xOf(line, high - 1) > to ? high - 1 : high;
  return last - first < 2 ? [low, high] : [first, last];
}

/** Between which values 98 % of what is shown lies, of at most some ten thousand points. */
function middle({ lines, logy }: PlotModel, from: number, to: number): [number, number] {
  const parts = lines.map((line) => ({ line, ends: inside(line, from, to) }));
  const total = parts.reduce((sum, { ends: [first, last] }) => sum + last - first, 0);
  const every = Math.max(1, Math.floor(total / 10_000));
  const values: number[] = [];
  for (const { line, ends } of parts)
    for (let i = ends[1] - 1; i >= ends[0]; i -= every) {
      const value = line.y[i]!;
      if (Number.isFinite(value) && !(logy && value <= 0)) values.push(value);
    }
  values.sort((a, b) => a - b);
  const at = (share: number) => values[Math.round(share * (values.length - 1))] ?? NaN;
  return [at(0.01), at(0.99)];
}

/** All that a chart shows on x. */
export function xExtent(model: PlotModel): [number, number] {
  const { logx, zoom } = model;
  if (zoom && !(logx && zoom[0] <= 0)) return [...zoom];
  let [low, high] = [Infinity, -Infinity];
  for (const line of model.lines) {
    if (!line.n) continue;
    let first = xOf(line, 0);
    if (logx && first <= 0) first = xOf(line, Math.min(1, line.n - 1));
    low = Math.min(low, logx ? Math.max(first, 1e-3) : first);
    high = Math.max(high, xOf(line, line.n - 1));
  }
  if (zoom && low < zoom[1]) return [low, zoom[1]]; // one from 0, of which a log axis knows nothing
  if (low < high) return [low, high];
  if (!Number.isFinite(low)) return logx ? [1, 10] : [0, 1];
  return logx ? [low / 2, low * 2] : [low - 0.5, low + 0.5];
}

/** All that it shows on y within a range on x. */
export function yExtent(model: PlotModel, [from, to]: [number, number]): [number, number] {
  const { logy, lines } = model;
  const range: [number, number] = [Infinity, -Infinity];
  if (model.cut) extent(middle(model, from, to), 0, 2, logy, range);
  else
    for (const line of lines) {
      extent(line.y, ...inside(line, from, to), logy, range);
      if (line.raw && lines.length <= STROKED) extent(line.raw, ...inside(line, from, to), logy, range);
    }
  for (const { line, low, high } of model.cut ? [] : model.bands) {
    extent(low, ...inside(line, from, to), logy, range);
    extent(high, ...inside(line, from, to), logy, range);
  }
  if (model.fromZero) range[0] = Math.min(range[0], 0);
  const [low, high] = range;
  if (!(low <= high)) return logy ? [0.1, 1] : [0, 1];
  if (logy)
    return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 0.5;
  return [model.fromZero ? low : low - margin, high + margin];
}
