/** What part of x and y a chart shows. */

import { formatTick } from "./format";
import { STROKED } from "./line_layer";
import type { PlotModel } from "./plot_model";
import { type Line, within, xOf } from "./raster";
import { backward, finite, forward, linearPart, type Scaling } from "./scaling";
import { extent } from "./statistics";

/** Indices of a line's points from `from` to `to` on x; where fewer than two are, also of those that lead there. */
function inside(line: Line, from: number, to: number): [number, number] {
  if (line.epochs) return [0, line.n];
  const [low, high] = within(line, from, to);
  const first = low < high && xOf(line, low) < from ? low + 1 : low;
  const last = low < high && xOf(line, high - 1) > to ? high - 1 : high;
  return last - first < 2 ? [low, high] : [first, last];
}

/** Of a line whose x need not rise: its values where it is within a range on x. */
function seen({ n, x, y }: Line, from: number, to: number): Float64Array {
  const kept = new Float64Array(n);
  for (let i = 0; i < n; i++) kept[i] = x[i]! >= from && x[i]! <= to ? y[i]! : NaN;
  return kept;
}

interface Part {
  line: Line;
  ends: [from: number, to: number];
}

const SAMPLED = 50; // points of a line, for its quantiles
const LINES = 300; // for their medians
const SPANS = 3; // beyond the ends of a usual line, so many times its height

const someOf = (parts: readonly Part[]) => {
  const every = Math.ceil(parts.length / LINES);
  return parts.filter((_, i) => i % every === 0);
};

/** Some values of a line, evenly, that have a place on y. */
function sample({ line, ends }: Part, positive: boolean): number[] {
  const values: number[] = [];
  const every = Math.max(1, Math.floor((ends[1] - ends[0]) / SAMPLED));
  for (let i = ends[1] - 1; i >= ends[0]; i -= every) {
    const value = line.y[i]!;
    if (Number.isFinite(value) && !(positive && value <= 0)) values.push(value);
  }
  return values;
}

/**
 * Where outliers begin on either side: far from the usual line, by the medians of where 98 % of each line's values lie. One
 * that diverged has no say there, nor has a single peak. On a logarithmic axis distances are those of logarithms.
 */
function fence(parts: readonly Part[], scaling: Scaling): [number, number] {
  const [f, back] = [forward(scaling), backward(scaling)];
  const [lows, highs]: [number[], number[]] = [[], []];
  for (const part of someOf(parts)) {
    const values = sample(part, scaling.log).map(f);
    if (!values.length) continue;
    values.sort((a, b) => a - b);
    const cut = Math.round(0.01 * (values.length - 1));
    lows.push(values[cut]!);
    highs.push(values.at(-1 - cut)!);
  }
  // Of two, the one that is far flatter is the usual one; who is, if they are alike?
  const heights = lows.map((low, i) => highs[i]! - low);
  if (heights.length === 2 && Math.max(...heights) > 20 * Math.min(...heights)) {
    const steep = heights[0]! > heights[1]! ? 0 : 1;
    lows.splice(steep, 1);
    highs.splice(steep, 1);
  }
  const byValue = (a: number, b: number) => a - b;
  const few = lows.length === 2;
  const low = lows.sort(byValue)[few ? 0 : lows.length >> 1] ?? NaN;
  const high = highs.sort(byValue)[few ? 1 : (highs.length - 1) >> 1] ?? NaN;
  const [from, to] = [Math.min(low, high), Math.max(low, high)];
  const beyond = SPANS * (to - from || Math.abs(to) * 0.1 || 1);
  return [back(from - beyond), back(to + beyond)];
}

/** All that a chart shows on x. */
export function xExtent(model: PlotModel): [number, number] {
  const { logx, zoom } = model;
  if (zoom && !(logx && zoom[0] <= 0)) return [...zoom];
  let [low, high] = [Infinity, -Infinity];
  for (const line of model.lines) {
    if (!line.n) continue;
    if (line.epochs) {
      const ends: [number, number] = [Infinity, -Infinity];
      extent(line.x, 0, line.n, logx, ends);
      [low, high] = [Math.min(low, ends[0]), Math.max(high, ends[1])];
      continue;
    }
    let first = xOf(line, 0);
    if (logx && first <= 0) first = xOf(line, Math.min(1, line.n - 1));
    low = Math.min(low, logx ? Math.max(first, 1e-3) : first);
    high = Math.max(high, xOf(line, line.n - 1));
  }
  if (zoom && low < zoom[1]) return [low, zoom[1]]; // one from 0, of which a log axis knows nothing
  if (low < high) return [low, high];
  if (!Number.isFinite(low)) return logx ? [1, 10] : [0, 1];
  const half = Math.max(0.5, Math.abs(low) * 1e-9); // a score may be on x
  return logx ? [low / 2, finite(low * 2)] : [finite(low - half), finite(low + half)];
}

export interface YView {
  range: [number, number];
  /** There is no value that has a place on y. */
  blank: boolean;
  /** What is not drawn though it was logged; empty where all is. */
  left: string;
  /** A few values make the others hard to tell apart. */
  stretched: boolean;
  /** Some of it is left out as outliers. */
  isCut: boolean;
  scaling: Scaling;
}

const lines = (count: number, one: string, more: string) =>
  `${count} ${count === 1 ? `line ${one}` : `lines ${more}`}`;

/** What a chart shows on y within a range on x, and what it leaves out. */
export function yView(model: PlotModel, [from, to]: [number, number]): YView {
  const { logy, yZoom } = model;
  const parts = model.lines.map((each): Part => {
    const line = each.epochs ? { ...each, y: seen(each, from, to) } : each;
    return { line, ends: inside(line, from, to) };
  });
  const scaling: Scaling = {
    log: logy,
    linear: model.symlog ? linearPart(someOf(parts).flatMap((part) => sample(part, false))) : undefined,
  };
  const all: [number, number] = [Infinity, -Infinity];
  const usual: [number, number] = [Infinity, -Infinity];
  const bounds = fence(parts, scaling);
  let [unplaced, partly, beyond] = [0, 0, 0];
  for (const { line, ends } of parts) {
    const own: [number, number] = [Infinity, -Infinity];
    let least = Infinity;
    for (let i = ends[0]; i < ends[1]; i++) {
      const value = line.y[i]!;
      if (value - value !== 0) continue; // not finite
      if (value < least) least = value;
      if (logy && value <= 0) continue;
      if (value < own[0]) own[0] = value;
      if (value > own[1]) own[1] = value;
    }
    if (logy && least <= 0) own[0] <= own[1] ? partly++ : unplaced++;
    if (line.raw && model.lines.length <= STROKED) extent(line.raw, ...ends, logy, own);
    if (!(own[0] <= own[1])) continue;
    join(all, own);
    if (own[0] >= bounds[0] && own[1] <= bounds[1]) {
      join(usual, own);
      continue;
    }
    beyond++;
    for (let i = ends[0]; i < ends[1]; i++) {
      const value = line.y[i]!;
      if (value >= bounds[0] && value <= bounds[1]) join(usual, [value, value]);
    }
  }
  const f = forward(scaling);
  const size = ([low, high]: [number, number]) => f(high) - f(low);
  const isStretched = usual[0] < usual[1] && size(all) > 20 * size(usual);
  const isCut = (model.cut === "auto" ? isStretched : model.cut) && usual[0] <= usual[1];
  const range: [number, number] = isCut ? usual : [...all];
  for (const { line, low, high } of isCut ? [] : model.bands) {
    extent(low, ...inside(line, from, to), logy, range);
    extent(high, ...inside(line, from, to), logy, range);
  }
  if (model.fromZero) range[0] = Math.min(range[0], 0);
  const left: string[] = [];
  if (unplaced) left.push(`${lines(unplaced, "has", "have")} no positive value`);
  if (partly) left.push(`${lines(partly, "has", "have")} values that are not positive`);
  const cuts = isCut && beyond > 0 && !yZoom;
  if (cuts) {
    const ends = [
      all[0] < usual[0] && `down to ${formatTick(all[0])}`,
      all[1] > usual[1] && `up to ${formatTick(all[1])}`,
    ];
    left.push(`${lines(beyond, "goes", "go")} beyond, ${ends.filter(Boolean).join(" and ")}`);
  }
  return {
    range: yZoom && !(logy && yZoom[0] <= 0) ? [...yZoom] : withMargin(range, scaling, model.fromZero),
    blank: !(range[0] <= range[1]),
    left: left.join("; "),
    stretched: !isCut && !yZoom && isStretched,
    isCut: cuts,
    scaling,
  };
}

/** The range alone. */
export const yExtent = (model: PlotModel, x: [number, number]): [number, number] => yView(model, x).range;

function join(range: [number, number], [low, high]: readonly [number, number]): void {
  if (low < range[0]) range[0] = low;
  if (high > range[1]) range[1] = high;
}

function withMargin([low, high]: [number, number], scaling: Scaling, fromZero = false): [number, number] {
  const { log, linear } = scaling;
  if (!(low <= high)) return log ? [0.1, 1] : [0, 1];
  if (log || linear) {
    const [f, back] = [forward(scaling), backward(scaling)];
    const margin = low === high ? Math.LN2 : 0.04 * (f(high) - f(low));
    const least = log ? Number.MIN_VALUE : -Infinity;
    return [Math.max(least, fromZero ? low : back(f(low) - margin)), back(f(high) + margin)];
  }
  const margin = high * 0.05 - low * 0.05 || Math.abs(high) * 0.1 || 0.5;
  return [fromZero ? low : finite(low - margin), finite(high + margin)];
}
