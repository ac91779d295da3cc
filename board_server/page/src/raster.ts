/**
 * Draw thousands of lines fast: each line becomes one vertical span a pixel column (its minimum and maximum there, so
 * no peak is lost), and the spans are blended into the pixels directly. Much faster than a canvas path for each line.
 */

import type { Rgb } from "./colours";
import { lowerBound } from "./curve";
import { backward, forward, type Scaling, symlog, unitOf } from "./scaling";

export interface Line {
  readonly id: number;
  /** x of point i is `x[i] * kx + ox`: epochs are shared, and steps and times are made of them. */
  readonly x: ArrayLike<number>;
  readonly kx: number;
  readonly ox: number;
  readonly y: ArrayLike<number>;
  readonly n: number;
  readonly rgb: Rgb;
  /** Of points whose x need not rise, as where it is another score: the epoch of each, or none. */
  readonly epochs?: ArrayLike<number>;
  /** The logged values, where `y` is smoothed. */
  readonly raw?: ArrayLike<number>;
  /** Of a mean: how many of its members have a finite value at point i. */
  readonly count?: ArrayLike<number>;
  /** Of a mean: how many members there are. */
  readonly members?: number;
  /** Of a mean: where members stop being finite, x in the axis' units, and their last finite y or NaN. */
  readonly marks?: readonly (readonly [x: number, y: number])[];
}

/** Data to pixels. */
export interface Axis extends Scaling {
  readonly min: number;
  readonly max: number;
  readonly size: number;
}

export function toPixel(axis: Axis, value: number): number {
  const f = forward(axis);
  const base = f(axis.min);
  return ((f(value) - base) / (f(axis.max) - base)) * axis.size;
}

export const xOf = (line: Line, i: number): number => line.x[i]! * line.kx + line.ox;

/** The point of a line that is nearest to a place on x; -1 if it has none. */
export function nearestPoint(line: Line, place: number): number {
  if (!line.n) return -1;
  if (line.epochs) {
    let found = 0;
    for (let i = 1; i < line.n; i++)
      if (Math.abs(line.x[i]! - place) < Math.abs(line.x[found]! - place)) found = i;
    return found;
  }
  const x = (place - line.ox) / line.kx;
  const i = Math.min(line.n - 1, lowerBound(line.x, line.n, x));
  return i > 0 && x - line.x[i - 1]! < line.x[i]! - x ? i - 1 : i;
}

export function toValue(axis: Axis, pixel: number): number {
  const share = pixel / axis.size;
  const f = forward(axis);
  return backward(axis)(f(axis.min) * (1 - share) + f(axis.max) * share);
}

/** Indices of a line's points within `from` to `to` on x, and one on either side. */
export function within(line: Line, from: number, to: number): [number, number] {
  if (line.epochs) return [0, line.n];
  const low = lowerBound(line.x, line.n, (from - line.ox) / line.kx);
  const high = lowerBound(line.x, line.n, (to - line.ox) / line.kx);
  return [Math.max(0, low - 1), Math.min(line.n, high + 1)];
}

/** The spans of a line: `low[c]` and `high[c]` (pixels from the top) for each column; low > high where there is none. */
export function spans(line: Line, xAxis: Axis, yAxis: Axis, low: Float32Array, high: Float32Array): void {
  low.fill(Infinity);
  high.fill(-Infinity);
  const [from, to] = within(line, xAxis.min, xAxis.max);
  const { x, y, kx, ox } = line;
  const columns = xAxis.size;
  const [fx, fy] = [forward(xAxis), forward(yAxis)];
  const xBase = fx(xAxis.min);
  const xScale = columns / (fx(xAxis.max) - xBase);
  const yBase = fy(yAxis.min);
  const yScale = yAxis.size / (fy(yAxis.max) - yBase);
  const { log: logx } = xAxis;
  const { log: logy, linear, size: rows } = yAxis;
  const [xUnit, yUnit] = [unitOf(xAxis.min, xAxis.max), unitOf(yAxis.min, yAxis.max)];
  let px = NaN;
  let py = NaN;
  // Without destructuring and closures: this runs a million times a chart.
  for (let i = from; i < to; i++) {
    const value = y[i]!;
    const place = x[i]! * kx + ox;
    if (value - value !== 0 || (logy && value <= 0) || (logx && place <= 0)) {
      py = NaN; // a line does not go on across what is not finite
      continue;
    }
    const cx = ((logx ? Math.log(place) : place * xUnit) - xBase) * xScale;
    const cy =
      rows - ((logy ? Math.log(value) : linear ? symlog(value, linear) : value * yUnit) - yBase) * yScale;
    const last = cx >= columns ? columns - 1 : cx | 0;
    if (Number.isNaN(py) || px >= last) {
      // A point after a gap, or one in the column of the point before, which that point has begun.
      if (cx >= 0 && cx <= columns) {
        if (cy < low[last]!) low[last] = cy;
        if (cy > high[last]!) high[last] = cy;
      }
    } else if (cx >= 0) {
      const slope = (cy - py) / (cx - px);
      for (let c = px > 0 ? px | 0 : 0; c <= last; c++) {
        const start = c <= px ? py : py + slope * (c - px);
        const end = c + 1 >= cx ? cy : py + slope * (c + 1 - px);
        const less = Math.min(start, end);
        const more = Math.max(start, end);
        if (less < low[c]!) low[c] = less;
        if (more > high[c]!) high[c] = more;
      }
    }
    px = cx;
    py = cy;
  }
}

/** Blend a line whose x need not rise into premultiplied pixels, one pixel thick: a step a pixel along the longer side. */
export function trace(pixels: Uint32Array, line: Line, xAxis: Axis, yAxis: Axis, alpha: number): void {
  const { n, rgb, x, y } = line;
  const [fx, fy] = [forward(xAxis), forward(yAxis)];
  const [columns, rows] = [xAxis.size, yAxis.size];
  const [xBase, yBase] = [fx(xAxis.min), fy(yAxis.min)];
  const xScale = columns / (fx(xAxis.max) - xBase);
  const yScale = rows / (fy(yAxis.max) - yBase);
  const share = (alpha * 256) | 0;
  let px = NaN;
  let py = NaN;
  for (let i = 0; i < n; i++) {
    const cx = (fx(x[i]!) - xBase) * xScale;
    const cy = rows - (fy(y[i]!) - yBase) * yScale;
    const isPoint = cx - cx === 0 && cy - cy === 0; // not NaN, not infinite
    if (isPoint) {
      const [sx, sy] = Number.isNaN(px) ? [cx, cy] : [px, py];
      const [dx, dy] = [cx - sx, cy - sy];
      // Of a part that leaves the chart, what is inside of it (Liang and Barsky, 1984).
      const [left, right] = inside(sx, dx, columns);
      const [top, bottom] = inside(sy, dy, rows);
      const [from, to] = [Math.max(0, left, top), Math.min(1, right, bottom)];
      const steps = from <= to ? Math.ceil(Math.max(Math.abs(dx), Math.abs(dy)) * (to - from)) || 1 : 0;
      for (let k = 1; k <= steps; k++) {
        const at = from + ((to - from) * k) / steps;
        const column = Math.min(columns - 1, Math.floor(sx + dx * at));
        const row = Math.min(rows - 1, Math.floor(sy + dy * at));
        if (column >= 0 && row >= 0) blend(pixels, row * columns + column, rgb, share);
      }
    }
    px = isPoint ? cx : NaN;
    py = cy;
  }
}

/** Between which shares of its way from `start` by `step` a point is between 0 and `size`. */
function inside(start: number, step: number, size: number): [from: number, to: number] {
  if (!step) return start >= 0 && start <= size ? [0, 1] : [1, 0];
  const [a, b] = [-start / step, (size - start) / step];
  return a < b ? [a, b] : [b, a];
}

/**
 * Move a pixel so many 256ths towards a colour: its channels two at a time in one integer multiplication (little endian:
 * red and blue, green and opacity), which may be off by one in 255.
 */
function blend(pixels: Uint32Array, at: number, [r, g, b]: Rgb, share: number): void {
  const pixel = pixels[at]!;
  const rb = pixel & 0xff00ff;
  const ga = (pixel >>> 8) & 0xff00ff;
  pixels[at] =
    ((rb + (Math.imul((r | (b << 16)) - rb, share) >>> 8)) & 0xff00ff) |
    (((ga + (Math.imul((g | (255 << 16)) - ga, share) >>> 8)) & 0xff00ff) << 8);
}

/**
 * Blend spans, `width` pixels thick, into premultiplied pixels: with soft ends, or in whole pixels, which is twice as
 * fast and cannot be told apart where hundreds of lines lie over each other.
 */
export function paint(
  pixels: Uint32Array,
  columns: number,
  rows: number,
  low: Float32Array,
  high: Float32Array,
  rgb: Rgb,
  alpha: number,
  width: number,
  soft = true,
): void {
  let share = (alpha * 256) | 0;
  for (let c = 0; c < columns; c++) {
    const top = low[c]! - width / 2;
    const bottom = high[c]! + width / 2;
    if (!(bottom > top)) continue;
    const last = bottom < rows ? bottom | 0 : rows - 1;
    for (let row = top > 0 ? top | 0 : 0; row <= last; row++) {
      if (soft) {
        const cover = Math.min(bottom, row + 1) - Math.max(top, row);
        share = ((cover >= 1 ? alpha : cover * alpha) * 256) | 0;
      }
      blend(pixels, row * columns + c, rgb, share);
    }
  }
}

/** What a canvas takes: colours that are not multiplied by their opacity. */
export function unmultiply(pixels: Uint8ClampedArray): void {
  for (let at = 0; at < pixels.length; at += 4) {
    const opacity = pixels[at + 3]!;
    if (opacity === 0 || opacity === 255) continue;
    for (let k = at; k < at + 3; k++) pixels[k] = (pixels[k]! * 255) / opacity;
  }
}

const known = new WeakMap<object, { n: number; at: [number, number][] }>();

/** The points where a line stops being finite: `[index, last finite y or NaN]`. Kept as long as the line's values. */
export function divergences(line: Line): readonly [number, number][] {
  const kept = known.get(line.y);
  if (kept?.n === line.n) return kept.at;
  const at: [number, number][] = [];
  let before = NaN;
  let finite = true;
  for (let i = 0; i < line.n; i++) {
    const value = line.y[i]!;
    const now = value - value === 0;
    if (!now && finite) at.push([i, before]);
    if (now) before = value;
    finite = now;
  }
  known.set(line.y, { n: line.n, at });
  return at;
}
