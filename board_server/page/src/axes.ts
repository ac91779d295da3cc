/** Draw the axes of a chart: a grid, and its numbers left and below. */

import { type Axis, toPixel } from "./raster";
import type { Pen } from "./svg";
import { type Kind, ticks } from "./ticks";

/** Room around the lines, in CSS pixels. */
export const EDGE = { left: 54, right: 16, top: 8, bottom: 38 } as const;

export const token = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * The context's origin is the corner of the lines; `ratio` is device pixels a CSS pixel. Where no value has a place on y
 * (`blank`), y has no numbers.
 */
export function drawAxes(
  context: Pen,
  xAxis: Axis,
  yAxis: Axis,
  xKind: Kind,
  xName: string,
  ratio: number,
  blank = false,
): void {
  context.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  const [grid, quiet] = [token("--grid"), token("--quiet")];
  context.lineWidth = Math.max(1, Math.round(ratio));
  const line = (x1: number, y1: number, x2: number, y2: number) => {
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
  };
  context.strokeStyle = grid;
  context.fillStyle = quiet;
  context.textAlign = "center";
  context.textBaseline = "top";
  let free = -Infinity;
  for (const { value, text } of ticks(xAxis, 60 * ratio, xKind)) {
    const x = Math.round(toPixel(xAxis, value));
    line(x, 0, x, yAxis.size);
    const half = context.measureText(text).width / 2;
    const middle = Math.min(x, xAxis.size + (EDGE.right - 2) * ratio - half); // the last one is not cut off
    if (middle - half < free) continue; // on a log axis numbers come ever closer
    context.fillText(text, middle, yAxis.size + 8 * ratio);
    free = middle + half + 8 * ratio;
  }
  context.fillText(xName, xAxis.size / 2, yAxis.size + 22 * ratio);
  context.textAlign = "right";
  context.textBaseline = "middle";
  free = Infinity;
  for (const { value, text } of blank ? [] : ticks(yAxis, 32 * ratio, "number")) {
    const y = yAxis.size - Math.round(toPixel(yAxis, value));
    line(0, y, xAxis.size, y);
    if (y + 7 * ratio > free) continue;
    context.fillText(text, -8 * ratio, y, (EDGE.left - 10) * ratio);
    free = y - 7 * ratio;
  }
}
