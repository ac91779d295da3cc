/**
 * One chart: uPlot draws axes and handles cursor, selection and synchronisation; the lines are ours, in two layers.
 * The lower one holds all lines and is drawn only when data or scales change; hovering draws just the upper one.
 */

import uPlot from "uplot";
import { css } from "./colours";
import { lowerBound } from "./curve";
import { formatDuration, formatNumber, formatTick } from "./format";
import { type BandShape, drawBand, drawLines, drawMarks, STROKED, stroke } from "./line_layer";
import { type Axis, divergences, type Line, toPixel, within } from "./raster";
import { extent } from "./statistics";

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

const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Plot {
  private readonly host: HTMLElement;
  private readonly events: PlotEvents;
  private readonly height: number;
  private readonly syncKey: string;
  private readonly upper = document.createElement("canvas");
  private readonly tip = document.createElement("div");
  private chart: uPlot | null = null;
  private shape = "";
  private model: PlotModel | null = null;
  private xRange: [number, number] = [0, 1];
  private yRange: [number, number] = [0, 1];
  private focusId: number | null = null;
  private over = false;

  constructor(host: HTMLElement, height: number, syncKey: string, events: PlotEvents) {
    this.host = host;
    this.height = height;
    this.syncKey = syncKey;
    this.events = events;
    this.upper.className = "layer";
    this.tip.className = "tip";
    this.tip.hidden = true;
  }

  destroy(): void {
    this.chart?.destroy();
    this.chart = null;
  }

  update(model: PlotModel): void {
    this.model = model;
    this.xRange = this.xExtent(model);
    this.yRange = this.yExtent(model);
    const shape = [model.logx, model.logy, model.xKind, model.dark].join();
    if (shape !== this.shape || !this.chart) this.create(model);
    else this.chart.setData(this.frame(), true);
    this.shape = shape;
  }

  resize(): void {
    const width = this.host.clientWidth;
    if (this.chart && width && width !== this.chart.width) this.chart.setSize({ width, height: this.height });
  }

  setFocus(id: number | null): void {
    if (id === this.focusId) return;
    this.focusId = id;
    this.drawUpper();
  }

  // uPlot needs some data to have scales; the lines are not its own.
  private frame(): uPlot.AlignedData {
    return [[...this.xRange], [...this.yRange]];
  }

  private xExtent(model: PlotModel): [number, number] {
    if (model.zoom && !(model.logx && model.zoom[0] <= 0)) return [...model.zoom];
    let [low, high] = [Infinity, -Infinity];
    for (const { x, kx, ox, n } of model.lines) {
      if (!n) continue;
      let first = x[0]! * kx + ox;
      if (model.logx && first <= 0) first = x[Math.min(1, n - 1)]! * kx + ox;
      low = Math.min(low, model.logx ? Math.max(first, 1e-3) : first);
      high = Math.max(high, x[n - 1]! * kx + ox);
    }
    if (!(low < high))
      return Number.isFinite(low)
        ? model.logx
          ? [low / 2, low * 2]
          : [low - 0.5, low + 0.5]
        : model.logx
          ? [1, 10]
          : [0, 1];
    return [low, high];
  }

  private yExtent(model: PlotModel): [number, number] {
    const range: [number, number] = [Infinity, -Infinity];
    const [from, to] = this.xRange;
    for (const line of model.lines) extent(line.y, ...within(line, from, to), model.logy, range);
    for (const { line, low, high } of model.bands) {
      extent(low, ...within(line, from, to), model.logy, range);
      extent(high, ...within(line, from, to), model.logy, range);
    }
    const [low, high] = range;
    if (!(low <= high)) return model.logy ? [0.1, 1] : [0, 1];
    if (model.logy)
      return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
    const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 0.5;
    return [low - margin, high + margin];
  }

  private create(model: PlotModel): void {
    this.chart?.destroy();
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = {
      stroke: token("--quiet"),
      grid: { stroke: token("--grid"), width: 1 },
      ticks: { show: false },
      font,
    };
    const values = (_: uPlot, splits: number[]) =>
      splits.map((v) =>
        v === null ? "" : model.xKind === "time" ? formatDuration(v * 1000) : formatTick(v),
      );
    const options: uPlot.Options = {
      width: this.host.clientWidth || 300,
      height: this.height,
      legend: { show: false },
      padding: [8, 16, 0, 0],
      scales: {
        x: { time: false, distr: model.logx ? 3 : 1, range: () => this.xRange },
        y: { distr: model.logy ? 3 : 1, range: () => this.yRange },
      },
      axes: [
        { ...axis, size: 26, space: 60, values },
        {
          ...axis,
          size: 54,
          space: 32,
          values: (_, splits) => splits.map((v) => (v === null ? "" : formatTick(v))),
        },
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      cursor: {
        sync: { key: this.syncKey, scales: ["x", null] },
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        bind: {
          dblclick: () => () => {
            this.events.zoom(null);
            return null;
          },
        },
      },
      hooks: {
        setSelect: [
          (u) => {
            if (u.select.width < 4) return;
            const ends: [number, number] = [
              u.posToVal(u.select.left, "x"),
              u.posToVal(u.select.left + u.select.width, "x"),
            ];
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            this.events.zoom(ends);
          },
        ],
        setCursor: [() => this.hover()],
        draw: [(u) => this.drawBase(u)],
      },
    };
    this.chart = new uPlot(options, this.frame(), this.host);
    const { over, root } = this.chart;
    const wrap = root.querySelector<HTMLElement>(".u-wrap")!;
    over.before(this.upper);
    wrap.append(this.tip);
    over.addEventListener("mouseenter", () => {
      this.over = true;
    });
    over.addEventListener("mouseleave", () => {
      this.over = false;
      this.tip.hidden = true;
      this.events.focus(null);
    });
    let downAt = 0;
    over.addEventListener("mousedown", (event) => {
      downAt = event.clientX;
    });
    over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - downAt) < 4 && this.focusId !== null) this.events.pick(this.focusId);
    });
  }

  private axes(width: number, height: number): [Axis, Axis] {
    const { logx, logy } = this.model!;
    return [
      { min: this.xRange[0], max: this.xRange[1], log: logx, size: Math.round(width) },
      { min: this.yRange[0], max: this.yRange[1], log: logy, size: Math.round(height) },
    ];
  }

  private drawBase(chart: uPlot): void {
    const model = this.model;
    if (!model) return;
    const { ctx: context, bbox } = chart;
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes(bbox.width, bbox.height);
    context.save();
    context.beginPath();
    context.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    context.clip();
    context.translate(bbox.left, bbox.top);
    for (const band of model.bands) drawBand(context, band, xAxis, yAxis);
    const chosen = model.chosen;
    const some = chosen.size > 0 && model.lines.some(({ id }) => chosen.has(id));
    const faint = some ? model.lines.filter(({ id }) => !chosen.has(id)) : [];
    const strong = some ? model.lines.filter(({ id }) => chosen.has(id)) : model.lines;
    drawLines(context, faint, xAxis, yAxis, 0.16, ratio);
    const alpha = strong.length > 300 ? 0.45 : strong.length > STROKED ? 0.7 : 1;
    drawLines(context, strong, xAxis, yAxis, alpha, some ? 1.8 * ratio : 1.3 * ratio);
    const marks = strong.flatMap((line) =>
      divergences(line).map(([i, y]) => ({ x: line.x[i]! * line.kx + line.ox, y, rgb: line.rgb })),
    );
    drawMarks(context, marks, xAxis, yAxis, ratio);
    context.restore();
    this.drawUpper();
  }

  private drawUpper(): void {
    if (!this.model || !this.chart) return;
    const { over, bbox } = this.chart;
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes(bbox.width, bbox.height);
    const canvas = this.upper;
    if (canvas.width !== xAxis.size || canvas.height !== yAxis.size) {
      canvas.width = xAxis.size;
      canvas.height = yAxis.size;
    }
    for (const side of ["left", "top", "width", "height"] as const) canvas.style[side] = over.style[side];
    const context = canvas.getContext("2d")!;
    context.clearRect(0, 0, xAxis.size, yAxis.size);
    const line = this.focusId === null ? undefined : this.model.lines.find(({ id }) => id === this.focusId);
    if (!line) return;
    stroke(context, line, xAxis, yAxis, token("--surface"), 6 * ratio);
    stroke(context, line, xAxis, yAxis, css(line.rgb), 2.4 * ratio);
    const i = this.nearestPoint(line);
    const value = i < 0 ? NaN : line.y[i]!;
    if (!Number.isFinite(value) || (yAxis.log && value <= 0)) return;
    context.beginPath();
    context.arc(
      toPixel(xAxis, line.x[i]! * line.kx + line.ox),
      yAxis.size - toPixel(yAxis, value),
      3.5 * ratio,
      0,
      7,
    );
    context.fillStyle = css(line.rgb);
    context.fill();
  }

  private nearestPoint(line: Line): number {
    const left = this.chart!.cursor.left ?? -1;
    if (left < 0 || !line.n) return -1;
    const x = (this.chart!.posToVal(left, "x") - line.ox) / line.kx;
    const i = Math.min(line.n - 1, lowerBound(line.x, line.n, x));
    return i > 0 && x - line.x[i - 1]! < line.x[i]! - x ? i - 1 : i;
  }

  /** Find the line under the pointer, and say which it is. */
  private hover(): void {
    if (!this.chart || !this.model) return;
    if (!this.over) {
      if (this.focusId !== null) this.drawUpper(); // the synchronised cursor of another chart moved
      return;
    }
    const { left = -1, top = -1 } = this.chart.cursor;
    if (left < 0) return;
    const ratio = devicePixelRatio || 1;
    const [xAxis, yAxis] = this.axes(this.chart.bbox.width, this.chart.bbox.height);
    let best: Line | null = null;
    let at = -1;
    let distance = 60 * ratio;
    for (const line of this.model.lines) {
      const i = this.nearestPoint(line);
      if (i < 0) continue;
      let value = line.y[i]!;
      if (!Number.isFinite(value)) value = this.yRange[0];
      const dx = Math.abs(toPixel(xAxis, line.x[i]! * line.kx + line.ox) - left * ratio);
      if (dx > 40 * ratio) continue;
      const dy = Math.abs(yAxis.size - toPixel(yAxis, value) - top * ratio);
      if (dy < distance) [best, at, distance] = [line, i, dy];
    }
    this.events.focus(best ? best.id : null);
    this.focusId = best ? best.id : null;
    this.drawUpper();
    this.tip.hidden = !best;
    if (best) this.showTip(best, at, left, top);
  }

  private showTip(line: Line, i: number, left: number, top: number): void {
    const model = this.model!;
    const x = line.x[i]! * line.kx + line.ox;
    const place = model.xKind === "time" ? formatDuration(x * 1000) : `${model.xKind} ${formatNumber(x)}`;
    const value = document.createElement("b");
    value.textContent = Number.isFinite(line.y[i]!)
      ? formatNumber(line.y[i]!, 5)
      : `diverged (${formatNumber(line.y[i]!)})`;
    const name = document.createElement("span");
    name.textContent = model.label(line.id);
    const where = document.createElement("small");
    where.textContent = place;
    const swatch = document.createElement("i");
    swatch.style.background = css(line.rgb);
    this.tip.replaceChildren(swatch, value, where, name);
    const { offsetLeft, offsetTop, clientWidth } = this.chart!.over;
    const right = left > clientWidth / 2;
    this.tip.style.left = right ? "" : `${offsetLeft + left + 14}px`;
    this.tip.style.right = right ? `${this.chart!.width - offsetLeft - left + 14}px` : "";
    this.tip.style.top = `${offsetTop + Math.max(0, top - 30)}px`;
  }
}
