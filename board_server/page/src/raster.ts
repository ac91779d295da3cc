/**
 * Draw thousands of lines fast: each line becomes one vertical span a pixel column (its minimum and maximum there, so
 * no peak is lost), and the spans are blended into the pixels directly. Much faster than a canvas path for each line.
 */

import type { Rgb } from "./colours";
import { lowerBound } from "./curve";

export interface Line {
  readonly id: number;
  /** x of point i is `x[i] * kx + ox`: epochs are shared, and steps and times are made of them. */
  readonly x: ArrayLike<number>;
  readonly kx: number;
  readonly ox: number;
  readonly y: ArrayLike<number>;
  readonly n: number;
  readonly rgb: Rgb;
  /** The logged values, where `y` is smoothed. */
  readonly raw?: ArrayLike<number>;
  /** Of a mean: how many of its members have a finite value at point i. */
  readonly count?: ArrayLike<number>;
  /** Of a mean: how many members there are. */
  readonly members?: number;
  /** Of a mean: where members stop being finite, x in the axis' units, and their last finite y or NaN. */
  readonly marks?: readonly (readonly [x: number, y: number])[];
}

/** Data to pixels; `log` takes the logarithm first. */
export interface Axis {
  readonly min: number;
  readonly max: number;
  readonly log: boolean;
  readonly size: number;
}

export function toPixel(axis: Axis, value: number): number {
  if (axis.log)
    return ((Math.log(value) - Math.log(axis.min)) / (Math.log(axis.max) - Math.log(axis.min))) * axis.size;
  return ((value - axis.min) / (axis.max - axis.min)) * axis.size;
}

export const xOf = (line: Line, i: number): number => line.x[i]! * line.kx + line.ox;

/** The point of a line that is nearest to a place on x; -1 if it has none. */
export function nearestPoint(line: Line, place: number): number {
  if (!line.n) return -1;
  const x = (place - line.ox) / line.kx;
  const i = Math.min(line.n - 1, lowerBound(line.x, line.n, x));
  return i > 0 && x - line.x[i - 1]! < line.x[i]! - x ? i - 1 : i;
}

export function toValue(axis: Axis, pixel: number): number {
  const share = pixel / axis.size;
  if (axis.log) return Math.exp(Math.log(axis.min) * (1 - share) + Math.log(axis.max) * share);
  return axis.min + share * (axis.max - axis.min);
}

/** Indices of a line's points within `from` to `to` on x, and one on either side. */
export function within(line: Line, from: number, to: number): [number, number] {
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
  const xBase = xAxis.log ? Math.log(xAxis.min) : xAxis.min;
  const xScale = columns / ((xAxis.log ? Math.log(xAxis.max) : xAxis.max) - xBase);
  const yBase = yAxis.log ? Math.log(yAxis.min) : yAxis.min;
  const yScale = yAxis.size / ((yAxis.log ? Math.log(yAxis.max) : yAxis.max) - yBase);
  const { log: logx } = xAxis;
  const { log: logy, size: rows } = yAxis;
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
    const cx = ((logx ? Math.log(place) : place) - xBase) * xScale;
    const cy = rows - ((logy ? Math.log(value) : value) - yBase) * yScale;
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

/**
 * Blend spans, `width` pixels thick, into premultiplied pixels: with soft ends, or in whole pixels, which is twice as
 * fast and cannot be told apart where hundreds of lines lie over each other. The channels of a pixel are moved towards
 * the colour two at a time in one integer multiplication, which may be off by one in 255.
 */
export function paint(
  pixels: Uint32Array,
  columns: number,
  rows: number,
  low: Float32Array,
  high: Float32Array,
  [r, g, b]: Rgb,
  alpha: number,
  width: number,
  soft = true,
): void {
  const even = r | (b << 16); // little endian: red and blue, green and opacity
  const odd = g | (255 << 16);
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
      const at = row * columns + c;
      const pixel = pixels[at]!;
      const rb = pixel & 0xff00ff;
      const ga = (pixel >>> 8) & 0xff00ff;
      pixels[at] =
        ((rb + (Math.imul(even - rb, share) >>> 8)) & 0xff00ff) |
        (((ga + (Math.imul(odd - ga, share) >>> 8)) & 0xff00ff) << 8);
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
