/**
 * One chart on two canvases. The lower one holds axes and all lines and is drawn only when data or scales change;
 * the cursor, the line under it and a selection are drawn on the upper one.
 */

import { drawAxes, EDGE, token } from "./axes";
import { css } from "./colours";
import { lowerBound } from "./curve";
import { type BandShape, drawBand, drawLines, drawMarks, STROKED, stroke } from "./line_layer";
import { listen } from "./plot_input";
import { type Axis, divergences, type Line, toPixel, toValue, within } from "./raster";
import { extent } from "./statistics";
import { showTip } from "./tip";

export interface PlotModel {
  lines: readonly Line[];
  bands: readonly BandShape[];
  logx: boolean;
  logy: boolean;
  xKind: "epoch" | "step" | "time";
  zoom: readonly [number, number] | null;
  chosen: ReadonlySet<number>;
  dark: boolean;
  label: (id: number) => string;
}

export interface PlotEvents {
  zoom: (range: [number, number] | null) => void;
  focus: (id: number | null) => void;
  pick: (id: number) => void;
}

const synchronised = new Map<string, Set<Plot>>();

export class Plot {
  readonly host: HTMLElement;
  readonly events: PlotEvents;
  readonly tip = document.createElement("div");
  model: PlotModel | null = null;
  focusId: number | null = null;
  /** The range on x that is being selected. */
  selection: [number, number] | null = null;
  private readonly height: number;
  private readonly peers: Set<Plot>;
  private readonly lower = document.createElement("canvas");
  private readonly upper = document.createElement("canvas");
  private readonly deafen: () => void;
  private width = 0;
  private xRange: [number, number] = [0, 1];
  private yRange: [number, number] = [0, 1];
  /** Where the pointer is on x, in the chart's units; the same for all charts that are synchronised. */
  private cursor: number | null = null;

  constructor(host: HTMLElement, height: number, syncKey: string, events: PlotEvents) {
    this.host = host;
    this.height = height;
    this.events = events;
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.tip.setAttribute("role", "status");
    host.replaceChildren(this.lower, this.upper, this.tip);
    this.deafen = listen(this);
    const peers = synchronised.get(syncKey) ?? new Set<Plot>();
    synchronised.set(syncKey, peers.add(this));
    this.peers = peers;
  }

  destroy(): void {
    this.peers.delete(this);
    this.deafen();
  }

  update(model: PlotModel): void {
    this.model = model;
    this.xRange = xExtent(model);
    this.yRange = yExtent(model, this.xRange);
    this.width = this.host.clientWidth;
    this.draw();
  }

  resize(): void {
    const width = this.host.clientWidth;
    if (!this.model || !width || width === this.width) return;
    this.width = width;
    this.draw();
  }

  setFocus(id: number | null): void {
    if (id === this.focusId) return;
    this.focusId = id;
    this.drawUpper();
  }

  /** The axes in device pixels. */
  axes(): [Axis, Axis] {
    const ratio = devicePixelRatio || 1;
    const size = (whole: number, before: number, after: number) =>
      Math.max(1, Math.round((whole - before - after) * ratio));
    return [
      { ...ends(this.xRange), log: this.model!.logx, size: size(this.width, EDGE.left, EDGE.right) },
      { ...ends(this.yRange), log: this.model!.logy, size: size(this.height, EDGE.top, EDGE.bottom) },
    ];
  }

  /** What is at a place of the chart, in CSS pixels from the corner of the lines. */
  xAt(left: number): number {
    return toValue(this.axes()[0], left * (devicePixelRatio || 1));
  }

  private context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    const context = canvas.getContext("2d")!;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    } else context.clearRect(0, 0, width, height);
    context.setTransform(1, 0, 0, 1, Math.round(EDGE.left * ratio), Math.round(EDGE.top * ratio));
    return context;
  }

  private draw(): void {
    const { model } = this;
    if (!model || !this.width) return;
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes();
    this.lower.getContext("2d")!.setTransform(1, 0, 0, 1, 0, 0);
    const context = this.context(this.lower);
    drawAxes(context, xAxis, yAxis, model.xKind === "time" ? "time" : "count", ratio);
    context.save();
    context.beginPath();
    context.rect(0, 0, xAxis.size, yAxis.size);
    context.clip();
    for (const band of model.bands) drawBand(context, band, xAxis, yAxis);
    const { chosen } = model;
    const some = chosen.size > 0 && model.lines.some(({ id }) => chosen.has(id));
    const faint = some ? model.lines.filter(({ id }) => !chosen.has(id)) : [];
    const strong = some ? model.lines.filter(({ id }) => chosen.has(id)) : model.lines;
    drawLines(context, faint, xAxis, yAxis, 0.16, ratio);
    const alpha = strong.length > 300 ? 0.45 : strong.length > STROKED ? 0.7 : 1;
    drawLines(context, strong, xAxis, yAxis, alpha, (some ? 1.8 : 1.3) * ratio);
    const marks = strong.flatMap((line) => marksOf(line).map(([x, y]) => ({ x, y, rgb: line.rgb })));
    drawMarks(context, marks, xAxis, yAxis, ratio);
    context.restore();
    this.drawUpper();
  }

  private drawUpper(): void {
    if (!this.model || !this.width) return;
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes();
    this.upper.getContext("2d")!.setTransform(1, 0, 0, 1, 0, 0);
    const context = this.context(this.upper);
    context.save();
    context.beginPath();
    context.rect(0, 0, xAxis.size, yAxis.size);
    context.clip();
    if (this.selection) {
      const [from, to] = this.selection.map((x) => toPixel(xAxis, x));
      context.globalAlpha = 0.15;
      context.fillStyle = token("--accent");
      context.fillRect(from!, 0, to! - from!, yAxis.size);
      context.globalAlpha = 1;
    }
    if (this.cursor !== null) {
      context.strokeStyle = token("--quiet");
      context.lineWidth = ratio;
      context.setLineDash([3 * ratio, 3 * ratio]);
      context.beginPath();
      const x = Math.round(toPixel(xAxis, this.cursor)) + 0.5;
      context.moveTo(x, 0);
      context.lineTo(x, yAxis.size);
      context.stroke();
      context.setLineDash([]);
    }
    const line = this.model.lines.find(({ id }) => id === this.focusId);
    if (line) {
      if (line.raw) stroke(context, { ...line, y: line.raw }, xAxis, yAxis, css(line.rgb, 0.5), ratio);
      stroke(context, line, xAxis, yAxis, token("--surface"), 6 * ratio);
      stroke(context, line, xAxis, yAxis, css(line.rgb), 2.4 * ratio);
      const i = this.cursor === null ? -1 : nearestPoint(line, this.cursor);
      const value = i < 0 ? NaN : line.y[i]!;
      if (Number.isFinite(value) && !(yAxis.log && value <= 0)) {
        context.beginPath();
        context.arc(toPixel(xAxis, xOf(line, i)), yAxis.size - toPixel(yAxis, value), 3.5 * ratio, 0, 7);
        context.fillStyle = css(line.rgb);
        context.fill();
      }
    }
    context.restore();
  }

  /** Put the cursor at an x (null: away) in all charts that are synchronised. */
  moveCursor(x: number | null): void {
    for (const plot of this.peers)
      if (plot.cursor !== x || plot === this) {
        plot.cursor = x;
        plot.drawUpper();
      }
  }

  /** The line nearest to a place in CSS pixels from the corner of the lines, and its point there. */
  nearest(left: number, top: number): [Line, number] | null {
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes();
    const x = this.xAt(left);
    let found: [Line, number] | null = null;
    let distance = 60 * ratio;
    for (const line of this.model!.lines) {
      const i = nearestPoint(line, x);
      if (i < 0 || Math.abs(toPixel(xAxis, xOf(line, i)) - left * ratio) > 40 * ratio) continue;
      const away = Math.abs(this.yOf(line, i, yAxis) - top * ratio);
      if (away < distance) {
        found = [line, i];
        distance = away;
      }
    }
    return found;
  }

  /** Where a point is from the top, in device pixels; what is not finite is at the bottom. */
  yOf(line: Line, i: number, yAxis = this.axes()[1]): number {
    const value = line.y[i]!;
    return Number.isFinite(value) ? yAxis.size - toPixel(yAxis, value) : yAxis.size;
  }

  /** Say what a line is and what it shows at a point; null: nothing. */
  point(at: [Line, number] | null): void {
    const id = at ? at[0].id : null;
    this.focusId = id;
    this.events.focus(id);
    this.tip.hidden = !at;
    if (!at) return;
    const ratio = devicePixelRatio || 1;
    showTip(this.tip, this.model!, ...at);
    const left = EDGE.left + toPixel(this.axes()[0], xOf(...at)) / ratio;
    const right = left > this.width / 2;
    this.tip.style.left = right ? "" : `${left + 14}px`;
    this.tip.style.right = right ? `${this.width - left + 14}px` : "";
    this.tip.style.top = `${Math.max(0, Math.min(this.height - 60, this.yOf(...at) / ratio - 24))}px`;
  }
}

const ends = ([min, max]: [number, number]) => ({ min, max });

export const xOf = (line: Line, i: number): number => line.x[i]! * line.kx + line.ox;

export function nearestPoint(line: Line, place: number): number {
  if (!line.n) return -1;
  const x = (place - line.ox) / line.kx;
  const i = Math.min(line.n - 1, lowerBound(line.x, line.n, x));
  return i > 0 && x - line.x[i - 1]! < line.x[i]! - x ? i - 1 : i;
}

const marksOf = (line: Line) =>
  line.marks ?? divergences(line).map(([i, y]): [number, number] => [xOf(line, i), y]);

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
  if (low < high) return [low, high];
  if (!Number.isFinite(low)) return logx ? [1, 10] : [0, 1];
  return logx ? [low / 2, low * 2] : [low - 0.5, low + 0.5];
}

function yExtent(model: PlotModel, [from, to]: [number, number]): [number, number] {
  const { logy, lines } = model;
  const range: [number, number] = [Infinity, -Infinity];
  for (const line of lines) {
    extent(line.y, ...within(line, from, to), logy, range);
    if (line.raw && lines.length <= STROKED) extent(line.raw, ...within(line, from, to), logy, range);
  }
  for (const { line, low, high } of model.bands) {
    extent(low, ...within(line, from, to), logy, range);
    extent(high, ...within(line, from, to), logy, range);
  }
  const [low, high] = range;
  if (!(low <= high)) return logy ? [0.1, 1] : [0, 1];
  if (logy)
    return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 0.5;
  return [low - margin, high + margin];
}
