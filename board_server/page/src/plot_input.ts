/** What pointer and keyboard do to a chart. */

import { EDGE } from "./axes";
import type { PlotModel } from "./plot_model";
import { xExtent, type YView } from "./ranges";
import { type Axis, type Line, nearestPoint, xOf } from "./raster";
import { backward, forward } from "./scaling";

export interface PlotEvents {
  /** Show a part of x, of y, or of both; null: all of it; left out: as it is. */
  zoom: (x?: [number, number] | null, y?: [number, number] | null) => void;
  /** What of it the chart shows on y, after each drawing. */
  say: (view: YView) => void;
  focus: (id: number | null) => void;
  pick: (id: number) => void;
}

/** A chart that can be pointed at: places are CSS pixels from the corner of its lines. */
export interface Pointable {
  readonly host: HTMLElement;
  readonly events: PlotEvents;
  readonly model: PlotModel | null;
  /** The line that is pointed at or read, and its point. */
  readonly at: [Line, number] | null;
  /** The range on x that is being selected. */
  selection: [number, number] | null;
  ySelection: [number, number] | null;
  axes(): [Axis, Axis];
  /** What is at a place on x. */
  xAt(left: number): number;
  yAt(top: number): number;
  nearest(left: number, top: number): [Line, number] | null;
  /** Where a point is from the top, in device pixels. */
  yOf(line: Line, i: number, yAxis?: Axis): number;
  point(at: [Line, number] | null): void;
  moveCursor(x: number | null): void;
}

const MOVED = 4; // pixels from which a press is a drag …
const BOX = 36; // … and from which it is one in that direction, too, or in that alone

/**
 * What a drag zooms: x and y, if it is as high as it is wide or at least a box; with Shift x alone, and along the numbers
 * of y, or straight up and down, y alone.
 */
export function directions(
  [left, top]: readonly [number, number],
  [toLeft, toTop]: readonly [number, number],
  shift: boolean,
): [x: boolean, y: boolean] {
  const [wide, high] = [Math.abs(toLeft - left), Math.abs(toTop - top)];
  if (left < 0) return [false, high >= MOVED];
  if (shift || high < BOX) return [wide >= MOVED, false];
  return [wide >= BOX, true];
}

/** Listen until the returned function is called. */
export function listen(plot: Pointable): () => void {
  const { host, events } = plot;
  const stop = new AbortController();
  const on = <K extends keyof HTMLElementEventMap>(
    name: K,
    handle: (event: HTMLElementEventMap[K]) => void,
  ) => host.addEventListener(name, (event) => plot.model && handle(event), { signal: stop.signal });
  const place = (event: PointerEvent): [left: number, top: number] => {
    const box = host.getBoundingClientRect();
    return [event.clientX - box.left - EDGE.left, event.clientY - box.top - EDGE.top];
  };
  const leave = () => {
    plot.selection = plot.ySelection = pressed = null;
    plot.point(null);
    plot.moveCursor(null);
  };
  let isRead = false; // by keys: what moves away below a pointer that rests does not end it
  const hover = (event: PointerEvent) => {
    isRead = false;
    const [left, top] = place(event);
    plot.point(plot.nearest(left, top));
    plot.moveCursor(plot.xAt(left));
  };
  const zoomAround = (x: number, factor: number) => {
    const [axis] = plot.axes();
    const { min, max } = axis;
    const [first, last] = xExtent({ ...plot.model!, zoom: null });
    const [f, back] = [forward(axis), backward(axis)];
    const from = Math.max(first, back(f(x) - (f(x) - f(min)) * factor));
    const to = Math.min(last, back(f(x) + (f(max) - f(x)) * factor));
    const hair = (last - first) * 1e-9; // logarithms round
    events.zoom(from > first + hair || to < last - hair ? [from, to] : null);
  };

  const zoomYAround = (y: number, factor: number) => {
    const [, axis] = plot.axes();
    const { min, max } = axis;
    const [f, back] = [forward(axis), backward(axis)];
    events.zoom(undefined, [back(f(y) - (f(y) - f(min)) * factor), back(f(y) + (f(max) - f(y)) * factor)]);
  };

  let pressed: [left: number, top: number] | null = null;

  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    pressed = place(event);
    host.setPointerCapture(event.pointerId);
    hover(event);
  });
  on("pointermove", (event) => {
    if (pressed) {
      const to = place(event);
      const [alongX, alongY] = directions(pressed, to, event.shiftKey);
      plot.selection = alongX ? [plot.xAt(pressed[0]), plot.xAt(to[0])] : null;
      plot.ySelection = alongY ? [plot.yAt(pressed[1]), plot.yAt(to[1])] : null;
    }
    hover(event);
  });
  on("pointerup", (event) => {
    if (pressed === null) return;
    const [range, yRange] = [plot.selection, plot.ySelection];
    plot.selection = plot.ySelection = pressed = null;
    const [xAxis, yAxis] = plot.axes();
    const inside = ({ min, max }: Axis, ends: [number, number]): [number, number] => [
      Math.max(min, Math.min(...ends)),
      Math.min(max, Math.max(...ends)),
    ];
    if (yRange || range) {
      const [x, y] = [range && inside(xAxis, range), yRange && inside(yAxis, yRange)];
      const fits = [x, y].every((part) => !part || part[0] < part[1]); // else it was beside the lines
      if (fits) events.zoom(x ?? undefined, y ?? undefined);
    } else if (event.pointerType === "mouse" && plot.at) events.pick(plot.at[0].id); // a touch only points
    plot.moveCursor(plot.xAt(place(event)[0]));
  });
  on("pointercancel", leave); // the page scrolls
  on("pointerleave", (event) => event.pointerType === "mouse" && !isRead && leave());
  on("blur", leave);
  on("dblclick", (event) => {
    const onNumbers = event.clientX - host.getBoundingClientRect().left < EDGE.left;
    events.zoom(onNumbers ? undefined : null, null);
  });

  on("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { lines } = plot.model!;
    const [{ min, max }, yAxis] = plot.axes();
    const { at } = plot;
    const middle = (min + max) / 2;
    const inside = (line: Line, i: number) => i >= 0 && xOf(line, i) >= min && xOf(line, i) <= max;
    const show = (line: Line, i: number) => {
      if (!inside(line, i)) return;
      isRead = true;
      plot.point([line, i]);
      plot.moveCursor(xOf(line, i));
    };
    const along = (steps: number) => at && show(at[0], Math.max(0, Math.min(at[0].n - 1, at[1] + steps)));
    const across = (sign: number) => {
      if (!at) return;
      const [from, x] = [sign * plot.yOf(...at, yAxis), xOf(...at)];
      let next: [Line, number] | null = null;
      let gap = Infinity;
      for (const line of lines) {
        const i = nearestPoint(line, x);
        const away = inside(line, i) ? sign * plot.yOf(line, i, yAxis) - from : -1;
        const beyond = away > 0 || (away === 0 && sign * (line.id - at[0].id) > 0);
        if (beyond && away < gap) [next, gap] = [[line, i], away];
      }
      if (next) show(...next);
    };
    const end = (line: Line, place: number, step: number) => {
      const i = nearestPoint(line, place);
      show(line, inside(line, i) ? i : i + step);
    };
    // Keys that read begin at the chosen line, or at the first, of those in sight.
    if (!at && /^(Arrow|Home|End)/.test(event.key)) {
      const seen = lines.filter((line) => inside(line, nearestPoint(line, middle)));
      const line = seen.find(({ id }) => plot.model!.chosen.has(id)) ?? seen[0];
      if (line) show(line, nearestPoint(line, middle));
    } else if (event.shiftKey && /^Arrow(Up|Down)$/.test(event.key))
      zoomYAround(at ? at[0].y[at[1]]! : (yAxis.min + yAxis.max) / 2, event.key === "ArrowUp" ? 0.5 : 2);
    else if (event.key === "ArrowLeft") along(event.shiftKey ? -10 : -1);
    else if (event.key === "ArrowRight") along(event.shiftKey ? 10 : 1);
    else if (event.key === "ArrowUp") across(-1);
    else if (event.key === "ArrowDown") across(1);
    else if (event.key === "Home") at && end(at[0], min, 1);
    else if (event.key === "End") at && end(at[0], max, -1);
    else if (event.key === "+" || event.key === "=") zoomAround(at ? xOf(...at) : middle, 0.5);
    else if (event.key === "-") zoomAround(at ? xOf(...at) : middle, 2);
    else if (event.key === "Enter") at && events.pick(at[0].id);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return () => stop.abort();
}
