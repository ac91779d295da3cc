/**
 * One chart on two canvases. The lower one holds axes and all lines and is drawn only when data or scales change;
 * the cursor, the line under it and a selection are drawn on the upper one.
 */

import { drawAxes, EDGE, token } from "./axes";
import { css } from "./colours";
import type { Figure } from "./figure";
import { formatTick } from "./format";
import { drawBand, drawLines, drawMarks, STROKED, stroke } from "./line_layer";
import { listen, type PlotEvents, type Pointable } from "./plot_input";
import type { PlotModel } from "./plot_model";
import { xExtent, type YView, yView } from "./ranges";
import { type Axis, divergences, type Line, nearestPoint, toPixel, toValue, xOf } from "./raster";
import { forward } from "./scaling";
import type { Pen } from "./svg";
import type { Kind } from "./ticks";
import { showTip } from "./tip";

const synchronised = new Map<string, Set<Plot>>();

export class Plot implements Pointable {
  readonly host: HTMLElement;
  readonly events: PlotEvents;
  readonly tip = document.createElement("div");
  model: PlotModel | null = null;
  focusId: number | null = null;
  /** The line that is pointed at or read, and its point. */
  at: [Line, number] | null = null;
  /** The range on x that is being selected. */
  selection: [number, number] | null = null;
  /** The range on y, likewise. */
  ySelection: [number, number] | null = null;
  private readonly peers: Set<Plot>;
  private readonly lower = document.createElement("canvas");
  private readonly upper = document.createElement("canvas");
  private readonly deafen: () => void;
  private width = 0;
  private height = 0;
  private xRange: [number, number] = [0, 1];
  private y: YView = yView(NOTHING, [0, 1]);
  /** Where the pointer is on x, in the chart's units; the same for all charts that are synchronised. */
  private cursor: number | null = null;

  constructor(host: HTMLElement, syncKey: string, events: PlotEvents) {
    this.host = host;
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
    const same = this.model?.xKind === model.xKind;
    this.model = model;
    this.xRange = xExtent(model);
    this.y = yView(model, this.xRange);
    this.events.say(this.y);
    this.resize(true);
    if (this.at) this.pointAnew(same ? xOf(...this.at) : NaN);
  }

  /** Say of the same line what it shows now; nothing, if it is gone or no longer in sight. */
  private pointAnew(x: number): void {
    const line = this.model!.lines.find(({ id }) => id === this.at![0].id);
    const i = line ? nearestPoint(line, x) : -1;
    const [from, to] = this.xRange;
    this.point(line && i >= 0 && xOf(line, i) >= from && xOf(line, i) <= to ? [line, i] : null);
    if (!this.at) this.drawUpper();
  }

  resize(always = false): void {
    const { clientWidth, clientHeight } = this.host;
    if (!this.model || (!always && clientWidth === this.width && clientHeight === this.height)) return;
    this.width = clientWidth;
    this.height = clientHeight;
    this.draw();
  }

  setFocus(id: number | null): void {
    if (id === this.focusId) return;
    this.focusId = id;
    this.drawUpper();
  }

  /** The axes in device pixels, or so many a CSS pixel. */
  axes(ratio = devicePixelRatio || 1): [Axis, Axis] {
    const size = (whole: number, before: number, after: number) =>
      Math.max(1, Math.round((whole - before - after) * ratio));
    return [
      { ...ends(this.xRange), log: this.model!.logx, size: size(this.width, EDGE.left, EDGE.right) },
      { ...ends(this.y.range), ...this.y.scaling, size: size(this.height, EDGE.top, EDGE.bottom) },
    ];
  }

  /** What is at a place of the chart, in CSS pixels from the corner of the lines. */
  xAt(left: number): number {
    return toValue(this.axes(1)[0], left);
  }

  yAt(top: number): number {
    const axis = this.axes(1)[1];
    return toValue(axis, axis.size - top);
  }

  private context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    const context = canvas.getContext("2d")!;
    context.setTransform(1, 0, 0, 1, 0, 0);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    } else context.clearRect(0, 0, width, height);
    context.translate(Math.round(EDGE.left * ratio), Math.round(EDGE.top * ratio));
    return context;
  }

  private draw(): void {
    if (!this.model || !this.width) return;
    this.drawLower(this.context(this.lower), devicePixelRatio || 1);
    this.drawUpper();
  }

  private drawLower(context: Pen, ratio: number): void {
    const { bands, chosen, lines, xKind } = this.model!;
    const [xAxis, yAxis] = this.axes(ratio);
    if (lines.some(({ n }) => n)) drawAxes(context, xAxis, yAxis, kindOf(xKind), xKind, ratio, this.y.blank);
    context.save();
    context.beginPath();
    context.rect(0, 0, xAxis.size, yAxis.size);
    context.clip();
    for (const band of bands) drawBand(context, band, xAxis, yAxis);
    const some = chosen.size > 0 && lines.some(({ id }) => chosen.has(id));
    const faint = some ? lines.filter(({ id }) => !chosen.has(id)) : [];
    const strong = some ? lines.filter(({ id }) => chosen.has(id)) : lines;
    drawLines(context, faint, xAxis, yAxis, 0.16, ratio);
    const alpha = strong.length > 300 ? 0.45 : strong.length > STROKED ? 0.7 : 1;
    drawLines(context, strong, xAxis, yAxis, alpha, (some ? 1.8 : 1.3) * ratio);
    const marks = strong.flatMap((line) => marksOf(line).map(([x, y]) => ({ x, y, rgb: line.rgb })));
    drawMarks(context, marks, xAxis, yAxis, ratio);
    context.restore();
  }

  /** The chart as it is now, to be saved. */
  figure(title: string): Figure {
    const { chosen, colourKey = null, label, lines, note } = this.model!;
    const some = lines.filter(({ id }) => chosen.has(id));
    const { linear, log } = this.y.scaling;
    const scale = linear ? `, symmetric log, linear up to ±${formatTick(linear)}` : log ? ", log" : "";
    return {
      title,
      note: [note, this.y.left].filter(Boolean).join("; "),
      yName: title + scale,
      width: this.width,
      height: this.height,
      names: (some.length ? some : lines).map(({ id, rgb }) => [label(id), rgb]),
      colourKey,
      draw: (pen, ratio) => this.drawLower(pen, ratio),
    };
  }

  private drawUpper(): void {
    if (!this.model || !this.width) return;
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes();
    const context = this.context(this.upper);
    context.save();
    context.beginPath();
    context.rect(0, 0, xAxis.size, yAxis.size);
    context.clip();
    context.globalAlpha = 0.15;
    context.fillStyle = token("--accent");
    if (this.selection || this.ySelection) {
      const [left, right] = this.selection?.map((x) => toPixel(xAxis, x)) ?? [0, xAxis.size];
      const [top, bottom] = this.ySelection?.map((y) => yAxis.size - toPixel(yAxis, y)) ?? [0, yAxis.size];
      context.fillRect(left!, top!, right! - left!, bottom! - top!);
    }
    context.globalAlpha = 1;
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
      if (line.epochs) {
        const [i, away] = this.nearestOf(line, left * ratio, top * ratio);
        if (away < distance) [found, distance] = [[line, i], away];
        continue;
      }
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

  /** Of a line whose x need not rise: its point that is nearest to a place in device pixels, and how far it is. */
  private nearestOf({ n, x, y }: Line, left: number, top: number): [i: number, away: number] {
    const [xAxis, yAxis] = this.axes();
    const [fx, fy] = [forward(xAxis), forward(yAxis)];
    const [kx, ky] = [
      xAxis.size / (fx(xAxis.max) - fx(xAxis.min)),
      yAxis.size / (fy(yAxis.max) - fy(yAxis.min)),
    ];
    const [cx, cy] = [fx(xAxis.min) + left / kx, fy(yAxis.max) - top / ky];
    let [found, least] = [-1, Infinity];
    for (let i = 0; i < n; i++) {
      const [dx, dy] = [(fx(x[i]!) - cx) * kx, (fy(y[i]!) - cy) * ky];
      const away = dx * dx + dy * dy;
      if (away < least) [found, least] = [i, away];
    }
    return [found, Math.sqrt(least)];
  }

  /** Where a point is from the top, in device pixels; what is not finite is at the bottom. */
  yOf(line: Line, i: number, yAxis = this.axes()[1]): number {
    const value = line.y[i]!;
    return Number.isFinite(value) ? yAxis.size - toPixel(yAxis, value) : yAxis.size;
  }

  /** Say what a line is and what it shows at a point; null: nothing. */
  point(at: [Line, number] | null): void {
    this.at = at;
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
    this.tip.style.top = `${Math.max(0, Math.min(this.height - this.tip.offsetHeight, this.yOf(...at) / ratio - 24))}px`;
  }
}

const KINDS: Record<string, Kind> = { epoch: "count", step: "count", time: "time" };
const kindOf = (x: string): Kind => KINDS[x] ?? "number";

const NOTHING: PlotModel = {
  lines: [],
  bands: [],
  logx: false,
  logy: false,
  cut: false,
  xKind: "epoch",
  zoom: null,
  chosen: new Set(),
  dark: false,
  label: String,
};

const ends = ([min, max]: [number, number]) => ({ min, max });

const marksOf = (line: Line) =>
  line.marks ?? divergences(line).map(([i, y]): [number, number] => [xOf(line, i), y]);
