/** Parallel coordinates of hyperparameters and a score. */

import { useRef } from "preact/hooks";
import { focused } from "./app";
import { Canvas, inOrder, leave, pick, pointed, type Scored, within } from "./canvas";
import { cellOf } from "./filter";
import { type Scale, spread } from "./scales";

const HEIGHT = 300;
const EDGE = 14;
const [LEFT, RIGHT] = [90, 64]; // room for what stands beside the outer axes
const BETWEEN = 84; // two axes, at least
const TOP = 34; // room for the names of the axes
/** A dotted name that fits: its last parts, if need be cut. */
function fitted(context: CanvasRenderingContext2D, name: string, width: number): string {
  let text = name;
  while (context.measureText(text).width > width && text.includes("."))
    text = text.slice(text.indexOf(".") + 1);
  while (context.measureText(text).width > width && text.length > 4) text = `${text.slice(0, -2)}…`;
  return text;
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
    lines(context, width, inOrder(scored));
    scalesOf(context, width);
  };
  const lines = (context: CanvasRenderingContext2D, width: number, some: ReturnType<typeof inOrder>) => {
    for (const { one, weight } of some) {
      context.globalAlpha =
        weight === 0 ? 0.08 : weight === 0.5 ? Math.max(0.25, Math.min(0.9, 40 / scored.length)) : 1;
      context.strokeStyle = colour(one.score);
      context.lineWidth = weight === 2 ? 3 : weight === 1 ? 2 : 1.2;
      context.beginPath();
      axes.forEach((_, i) => void context.lineTo(x(i, width), y(i, one)));
      context.stroke();
    }
    context.globalAlpha = 1;
  };
  const over = (context: CanvasRenderingContext2D, width: number) => {
    const some = pointed(scored);
    lines(context, width, some);
    if (some.length) scalesOf(context, width);
    if (!range.current) return;
    const { axis, from, to } = range.current;
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    context.globalAlpha = 0.3;
    context.fillRect(x(axis, width) - 8, from, 16, to - from);
  };
  const scalesOf = (context: CanvasRenderingContext2D, width: number) => {
    const style = getComputedStyle(document.documentElement);
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
      over={over}
      onMove={move}
      onDrag={drag}
      onLeave={leave}
      onClick={pick}
      label={`Parallel coordinates of ${axes.join(", ")}`}
    />
  );
}
