/** Draw lines, bands and marks of divergence on a canvas, from the lines and axes alone. */

import { css, type Rgb } from "./colours";
import { type Axis, type Line, paint, spans, toPixel, trace, unmultiply, within } from "./raster";
import type { Pen } from "./svg";

export interface BandShape {
  readonly line: Line;
  readonly low: ArrayLike<number>;
  readonly high: ArrayLike<number>;
}

/** Runs of points `[from, to)` that share their ends: whether all members of a mean are in it. Others are one run. */
export function runs(line: Line): [from: number, to: number, whole: boolean][] {
  const { count, members = 0, n } = line;
  if (!count) return [[0, n, true]];
  const found: [number, number, boolean][] = [];
  for (let i = 1; i < n; i++) {
    const whole = count[i]! >= members && count[i - 1]! >= members;
    const last = found.at(-1);
    if (last && last[2] === whole) last[1] = i + 1;
    else found.push([i - 1, i + 1, whole]);
  }
  return found.length ? found : [[0, n, true]];
}

const part = (line: Line, from: number, to: number): Line =>
  from === 0 && to === line.n
    ? line
    : {
        ...line,
        x: Array.prototype.slice.call(line.x, from, to),
        y: Array.prototype.slice.call(line.y, from, to),
        n: to - from,
      };

export interface Mark {
  readonly x: number;
  readonly y: number;
  readonly rgb: Rgb;
}

/** Up to so many lines a canvas path each looks best and is fast enough. */
export const STROKED = 48;
const SOFT = 300;

export function drawLines(
  context: Pen,
  lines: readonly Line[],
  xAxis: Axis,
  yAxis: Axis,
  alpha: number,
  width: number,
): void {
  if (!lines.length) return;
  if (lines.length <= STROKED || !(context instanceof CanvasRenderingContext2D)) {
    for (const line of lines) {
      if (line.raw)
        stroke(context, { ...line, y: line.raw }, xAxis, yAxis, css(line.rgb, alpha * 0.3), width);
      for (const [from, to, whole] of runs(line)) {
        context.setLineDash(whole ? [] : [5 * width, 3 * width]); // not all members are in this part of a mean
        stroke(context, part(line, from, to), xAxis, yAxis, css(line.rgb, alpha), width);
      }
      context.setLineDash([]);
    }
    return;
  }
  const [columns, rows] = [xAxis.size, yAxis.size];
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const low = new Float32Array(columns);
  const high = new Float32Array(columns);
  for (const line of lines) {
    if (line.epochs) {
      trace(pixels, line, xAxis, yAxis, alpha);
      continue;
    }
    spans(line, xAxis, yAxis, low, high);
    paint(pixels, columns, rows, low, high, line.rgb, alpha, width, lines.length <= SOFT);
  }
  unmultiply(image.data);
  const layer = new OffscreenCanvas(columns, rows);
  layer.getContext("2d")!.putImageData(image, 0, 0);
  context.drawImage(layer, 0, 0);
}

export function stroke(
  context: Pen,
  line: Line,
  xAxis: Axis,
  yAxis: Axis,
  style: string,
  width: number,
): void {
  const [from, to] = within(line, xAxis.min, xAxis.max);
  context.strokeStyle = context.fillStyle = style;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  if (!line.epochs && to - from > xAxis.size * 2) {
    const low = new Float32Array(xAxis.size);
    const high = new Float32Array(xAxis.size);
    spans(line, xAxis, yAxis, low, high);
    let drawn = false;
    for (let c = 0; c < xAxis.size; c++) {
      const before = drawn;
      drawn = low[c]! <= high[c]!;
      if (!drawn) continue; // nothing finite: the line does not go on across it
      if (before) context.lineTo(c + 0.5, low[c]!);
      else context.moveTo(c + 0.5, low[c]!);
      context.lineTo(c + 0.5, high[c]!);
    }
    context.stroke();
    return;
  }
  let alone = -1; // a finite point between two that are not is a dot
  let open = false;
  for (let i = from; i <= to; i++) {
    const value = i < to ? line.y[i]! : NaN;
    const x = i < to ? line.x[i]! * line.kx + line.ox : NaN;
    if (!Number.isFinite(value) || (yAxis.log && value <= 0) || (xAxis.log && x <= 0)) {
      if (open && alone >= 0) {
        const [ax, ay] = [
          toPixel(xAxis, line.x[alone]! * line.kx + line.ox),
          yAxis.size - toPixel(yAxis, line.y[alone]!),
        ];
        context.fillRect(ax - width * 1.5, ay - width * 1.5, width * 3, width * 3);
      }
      open = false;
      continue;
    }
    const [cx, cy] = [toPixel(xAxis, x), yAxis.size - toPixel(yAxis, value)];
    if (open) context.lineTo(cx, cy);
    else context.moveTo(cx, cy);
    alone = open ? -1 : i;
    open = true;
  }
  context.stroke();
}

export function drawBand(context: Pen, band: BandShape, xAxis: Axis, yAxis: Axis): void {
  const { line } = band;
  const [from, to] = within(line, xAxis.min, xAxis.max);
  const point = (i: number, values: ArrayLike<number>) => {
    const value = yAxis.log ? Math.max(values[i]!, yAxis.min) : values[i]!;
    context.lineTo(toPixel(xAxis, line.x[i]! * line.kx + line.ox), yAxis.size - toPixel(yAxis, value));
  };
  context.fillStyle = css(line.rgb, 0.16);
  for (let first = from; first < to; first++) {
    let last = first;
    while (last < to && Number.isFinite(line.y[last]!)) last++;
    if (last === first) continue; // no band across what is not finite
    context.beginPath();
    for (let i = first; i < last; i++) point(i, band.low);
    for (let i = last - 1; i >= first; i--) point(i, band.high);
    context.fill();
    first = last;
  }
}

/** A cross where a line became NaN or infinite. */
export function drawMarks(
  context: Pen,
  marks: readonly Mark[],
  xAxis: Axis,
  yAxis: Axis,
  ratio: number,
): void {
  const arm = 4 * ratio;
  context.lineWidth = 1.8 * ratio;
  for (const { x, y, rgb } of marks.slice(0, 2000)) {
    const cx = Math.min(xAxis.size - arm, Math.max(arm, toPixel(xAxis, x)));
    const height = Number.isNaN(y) ? arm : toPixel(yAxis, y);
    const cy = Math.min(yAxis.size - arm, Math.max(arm, yAxis.size - height));
    context.strokeStyle = css(rgb);
    context.beginPath();
    context.moveTo(cx - arm, cy - arm);
    context.lineTo(cx + arm, cy + arm);
    context.moveTo(cx + arm, cy - arm);
    context.lineTo(cx - arm, cy + arm);
    context.stroke();
  }
}
