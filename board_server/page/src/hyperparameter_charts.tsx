/** Parallel coordinates and scatter plots of hyperparameters and a score. */

import { useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { focused, togglePick, view } from "./app";
import { cellOf } from "./filter";
import { pixelRatio } from "./pixel_ratio";
import type { Experiment } from "./run_state";
import { type Scale, spread } from "./scales";

export interface Scored {
  experiment: Experiment;
  score: number | null; // null: it has no finite one
}

/** A canvas that fits its box and is drawn anew when `draw` changes, or its size. */
function Canvas({
  height,
  draw,
  onMove,
  onLeave,
  onClick,
  onDrag,
  label,
  minWidth = 0,
}: {
  height: number;
  /** On less room it scrolls. */
  minWidth?: number;
  label: string;
  draw: (context: CanvasRenderingContext2D, width: number) => void;
  onMove: (x: number, y: number, width: number) => void;
  onLeave: () => void;
  onClick: () => void;
  /** A vertical drag of the mouse, while it goes on and when it ends; it takes the place of the move and the click. */
  onDrag?: (x: number, from: number, to: number, width: number, ended: boolean) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const pressed = useRef<[x: number, y: number] | null>(null);
  const dragged = useRef(false);
  const now = useRef(draw);
  now.current = draw;
  const paint = () => {
    const element = canvas.current;
    const width = element?.clientWidth ?? 0;
    if (!element || !width) return;
    const ratio = pixelRatio.peek();
    element.width = width * ratio;
    element.height = height * ratio;
    const context = element.getContext("2d")!;
    context.scale(ratio, ratio);
    now.current(context, width);
  };
  useLayoutEffect(() => {
    const sized = new ResizeObserver(paint);
    sized.observe(canvas.current!);
    return () => sized.disconnect();
  }, []);
  useLayoutEffect(paint);
  useSignalEffect(() => {
    void focused.value;
    void pixelRatio.value;
    paint();
  });
  const shown = (
    <canvas
      ref={canvas}
      role="img"
      aria-label={label}
      style={{ height: `${height}px`, minWidth: `${minWidth}px` }}
      onPointerDown={(event) => {
        if (event.pointerType !== "mouse" || event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        pressed.current = [event.offsetX, event.offsetY];
        dragged.current = false;
      }}
      onPointerMove={(event) => {
        const { clientWidth } = event.currentTarget;
        const from = pressed.current;
        if (from && onDrag && Math.abs(event.offsetY - from[1]) > 4) dragged.current = true;
        if (!from || !dragged.current) onMove(event.offsetX, event.offsetY, clientWidth);
        else onDrag!(from[0], from[1], event.offsetY, clientWidth, false);
        if (dragged.current) paint();
      }}
      onPointerUp={(event) => {
        const from = pressed.current;
        pressed.current = null;
        if (from && dragged.current)
          onDrag!(from[0], from[1], event.offsetY, event.currentTarget.clientWidth, true);
      }}
      onPointerLeave={onLeave}
      onClick={() => !dragged.current && onClick()}
    />
  );
  return minWidth ? (
    <div class="sideways" tabIndex={0} role="group" aria-label={label}>
      {shown}
    </div>
  ) : (
    shown
  );
}

const HEIGHT = 300;
const EDGE = 14;
const [LEFT, RIGHT] = [90, 64]; // room for what stands beside the outer axes
const BETWEEN = 84; // two axes, at least
const TOP = 34; // room for the names of the axes
const leave = () => {
  focused.value = null;
};
const pick = () => focused.value !== null && togglePick(focused.value);

/** Draw faint first, then what is chosen or under the pointer. */
function inOrder(scored: readonly Scored[]): { one: Scored; weight: number }[] {
  const chosen = new Set(view.value.pick);
  const weigh = ({ experiment: { id } }: Scored) =>
    id === focused.value ? 2 : chosen.size ? (chosen.has(id) ? 1 : 0) : 0.5;
  return scored.map((one) => ({ one, weight: weigh(one) })).sort((a, b) => a.weight - b.weight);
}

/** A dotted name that fits: its last parts, if need be cut. */
function fitted(context: CanvasRenderingContext2D, name: string, width: number): string {
  let text = name;
  while (context.measureText(text).width > width && text.includes("."))
    text = text.slice(text.indexOf(".") + 1);
  while (context.measureText(text).width > width && text.length > 4) text = `${text.slice(0, -2)}…`;
  return text;
}

/** A text that fits, without its middle if need be: what tells values apart is mostly at their ends. */
function within(context: CanvasRenderingContext2D, text: string, width: number): string {
  let kept = Number.isNaN(Number(text)) ? text.length : 0; // of a number each part counts
  let shown = text;
  while (context.measureText(shown).width > width && kept > 4) {
    kept--;
    shown = `${text.slice(0, kept >> 1)}…${text.slice(text.length - ((kept + 1) >> 1))}`;
  }
  return shown;
}

export function Parallel({
  scored,
  names,
  scales,
  by,
  colour,
  onRange,
}: {
  scored: readonly Scored[];
  names: readonly string[];
  scales: readonly Scale[];
  by: string;
  colour: (score: number | null) => string;
  /** A part of an axis was chosen: the condition that says so. */
  onRange: (axis: number, condition: string) => void;
}) {
  const axes = [...names, by];
  const range = useRef<{ axis: number; from: number; to: number } | null>(null);
  const x = (i: number, width: number) => LEFT + ((width - LEFT - RIGHT) * i) / Math.max(1, axes.length - 1);
  const y = (i: number, one: Scored) => {
    const place = scales[i]!.place(i < names.length ? cellOf(one.experiment, names[i]!) : one.score);
    return HEIGHT - EDGE - place * (HEIGHT - EDGE - TOP);
  };
  const draw = (context: CanvasRenderingContext2D, width: number) => {
    for (const { one, weight } of inOrder(scored)) {
      context.globalAlpha =
        weight === 0 ? 0.08 : weight === 0.5 ? Math.max(0.25, Math.min(0.9, 40 / scored.length)) : 1;
      context.strokeStyle = colour(one.score);
      context.lineWidth = weight === 2 ? 3 : weight === 1 ? 2 : 1.2;
      context.beginPath();
      axes.forEach((_, i) => void context.lineTo(x(i, width), y(i, one)));
      context.stroke();
    }
    context.globalAlpha = 1;
    const style = getComputedStyle(document.documentElement);
    if (range.current) {
      const { axis, from, to } = range.current;
      context.fillStyle = style.getPropertyValue("--accent");
      context.globalAlpha = 0.3;
      context.fillRect(x(axis, width) - 8, from, 16, to - from);
      context.globalAlpha = 1;
    }
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const room = (width - LEFT - RIGHT) / Math.max(1, axes.length - 1) - 12;
    axes.forEach((_, i) => {
      context.fillStyle = style.getPropertyValue("--quiet");
      context.fillRect(x(i, width) - 0.5, TOP, 1, HEIGHT - EDGE - TOP);
      const name = fitted(context, axes[i]!, room + 4);
      const half = context.measureText(name).width / 2;
      context.fillText(name, Math.max(0, Math.min(width - 2 * half, x(i, width) - half)), 14);
      for (const [place, whole] of spread(scales[i]!.ticks, HEIGHT - EDGE - TOP, () => 14)) {
        const text = within(context, whole, i ? room : LEFT - 8);
        const at = HEIGHT - EDGE - place * (HEIGHT - EDGE - TOP);
        const right = i === axes.length - 1;
        const space = context.measureText(text).width;
        context.fillStyle = style.getPropertyValue("--surface");
        context.globalAlpha = 0.8;
        context.fillRect(right ? x(i, width) + 4 : x(i, width) - 6 - space, at - 7, space + 3, 14);
        context.globalAlpha = 1;
        context.fillStyle = style.getPropertyValue("--soft");
        context.fillText(text, right ? x(i, width) + 5 : x(i, width) - 5 - space, at + 4);
      }
    });
  };
  const move = (px: number, py: number, width: number) => {
    const between = Math.max(
      0,
      Math.min(axes.length - 2, Math.floor(((px - LEFT) / (width - LEFT - RIGHT)) * (axes.length - 1))),
    );
    const share = (px - x(between, width)) / (x(between + 1, width) - x(between, width) || 1);
    let [best, distance] = [null as number | null, 8];
    for (const one of scored) {
      const away = Math.abs(
        y(between, one) * (1 - share) + y(Math.min(between + 1, axes.length - 1), one) * share - py,
      );
      if (away < distance) [best, distance] = [one.experiment.id, away];
    }
    focused.value = best;
  };
  const drag = (px: number, from: number, to: number, width: number, ended: boolean) => {
    const axis = axes.findIndex((_, i) => Math.abs(x(i, width) - px) < 24);
    if (axis < 0) return;
    range.current = ended ? null : { axis, from, to };
    if (!ended) return;
    const share = (py: number) => (HEIGHT - EDGE - py) / (HEIGHT - EDGE - TOP);
    onRange(axis, scales[axis]!.between(share(Math.max(from, to)), share(Math.min(from, to))));
  };
  return (
    <Canvas
      height={HEIGHT}
      minWidth={LEFT + RIGHT + names.length * BETWEEN}
      draw={draw}
      onMove={move}
      onDrag={drag}
      onLeave={leave}
      onClick={pick}
      label={`Parallel coordinates of ${axes.join(", ")}`}
    />
  );
}

export function Scatter({
  name,
  scored,
  scale,
  scores,
  colour,
}: {
  name: string;
  scored: readonly Scored[];
  scale: Scale;
  scores: Scale;
  colour: (score: number | null) => string;
}) {
  const height = 190;
  const at = (one: Scored, width: number): [number, number] => [
    62 + scale.place(cellOf(one.experiment, name)) * (width - 86),
    height - 30 - scores.place(one.score) * (height - 44),
  ];
  const draw = (context: CanvasRenderingContext2D, width: number) => {
    const style = getComputedStyle(document.documentElement);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.strokeStyle = style.getPropertyValue("--grid");
    context.fillStyle = style.getPropertyValue("--quiet");
    for (const [place, text] of spread(scores.ticks, height - 44, () => 16)) {
      const y = height - 30 - place * (height - 44);
      context.strokeRect(56, y, width - 56, 0);
      context.fillText(text, 50 - context.measureText(text).width, y + 4);
    }
    const texts = scale.ticks.map(([place, text]): [number, string] => [place, within(context, text, 110)]);
    for (const [place, text] of spread(texts, width - 86, (one) => context.measureText(one).width + 10)) {
      const space = context.measureText(text).width;
      context.fillText(text, Math.min(width - space, 62 + place * (width - 86) - space / 2), height - 8);
    }
    for (const { one, weight } of inOrder(scored)) {
      const [x, y] = at(one, width);
      context.globalAlpha = weight === 0 ? 0.15 : weight === 0.5 ? 0.75 : 1;
      context.fillStyle = colour(one.score);
      context.beginPath();
      context.arc(x, y, weight === 2 ? 6 : weight === 1 ? 4.5 : 3.2, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  };
  const move = (px: number, py: number, width: number) => {
    let [best, distance] = [null as number | null, 14];
    for (const one of scored) {
      const [x, y] = at(one, width);
      const away = Math.hypot(x - px, y - py);
      if (away < distance) [best, distance] = [one.experiment.id, away];
    }
    focused.value = best;
  };
  return (
    <figure class="chart">
      <figcaption>
        <h2>{name}</h2>
        <small>{scale.note}</small>
      </figcaption>
      <Canvas
        height={height}
        draw={draw}
        onMove={move}
        onLeave={leave}
        onClick={pick}
        label={`Scatter of ${name} against the score`}
      />
    </figure>
  );
}
