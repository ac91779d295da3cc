/** Experiments as dots over two axes. */

import { useRef } from "preact/hooks";
import { focused } from "./app";
import { Canvas, inOrder, leave, pick, pointed, type Scored, within } from "./canvas";
import { Menu } from "./controls";
import { drawingOf } from "./figure";
import type { Cell } from "./filter";
import { SaveFigure } from "./save_figure";
import { type Scale, spread } from "./scales";
import type { Pen } from "./svg";

export interface ScatterAxis {
  name: string;
  scale: Scale;
  of: (one: Scored) => Cell;
}

const [LEFT, RIGHT, TOP, BOTTOM] = [72, 24, 20, 44];

export function Scatter({
  title,
  x,
  y,
  scored,
  colour,
  stairs = [],
  height = 210,
}: {
  title: string;
  x: ScatterAxis;
  y: ScatterAxis;
  scored: readonly Scored[];
  colour: (score: number | null) => string;
  /** Where a line goes level to the next x, and then up or down. */
  stairs?: readonly (readonly [x: Cell, y: Cell])[];
  height?: number;
}) {
  const place = (xCell: Cell, yCell: Cell, width: number): [number, number] => [
    LEFT + x.scale.place(xCell) * (width - LEFT - RIGHT),
    height - BOTTOM - y.scale.place(yCell) * (height - TOP - BOTTOM),
  ];
  const drawn = useRef(0);
  const draw = (context: Pen, width: number) => {
    drawn.current = width;
    const style = getComputedStyle(document.documentElement);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.strokeStyle = style.getPropertyValue("--grid");
    context.fillStyle = style.getPropertyValue("--quiet");
    const room = width - LEFT - RIGHT;
    for (const [share, text] of spread(y.scale.ticks, height - TOP - BOTTOM, () => 16)) {
      const at = height - BOTTOM - share * (height - TOP - BOTTOM);
      context.beginPath();
      context.moveTo(LEFT - 6, at);
      context.lineTo(width, at);
      context.stroke();
      context.fillText(text, LEFT - 12 - context.measureText(text).width, at + 4);
    }
    context.fillText(y.name, 8, 10);
    const texts = x.scale.ticks.map(([share, text]): [number, string] => [share, within(context, text, 110)]);
    for (const [share, text] of spread(texts, room, (one) => context.measureText(one).width + 10)) {
      const space = context.measureText(text).width;
      context.fillText(text, Math.min(width - space, LEFT + share * room - space / 2), height - 24);
    }
    context.fillText(x.name, LEFT + (room - context.measureText(x.name).width) / 2, height - 7);
    if (stairs.length) {
      context.strokeStyle = style.getPropertyValue("--accent");
      context.lineWidth = 1.8;
      context.beginPath();
      let before: number | null = null;
      for (const step of stairs) {
        const [px, py] = place(...step, width);
        if (before !== null) context.lineTo(px, before);
        context.lineTo(px, py);
        before = py;
      }
      context.stroke();
    }
    dots(context, width, inOrder(scored));
  };
  const dots = (context: Pen, width: number, some: ReturnType<typeof inOrder>) => {
    for (const { one, weight } of some) {
      const [px, py] = place(x.of(one), y.of(one), width);
      context.globalAlpha = weight === 0 ? 0.15 : weight === 0.5 ? 0.75 : 1;
      context.fillStyle = colour(one.score);
      context.beginPath();
      context.arc(px, py, weight === 2 ? 6 : weight === 1 ? 4.5 : 3.2, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  };
  const move = (px: number, py: number, width: number) => {
    let [best, distance] = [null as number | null, 14];
    for (const one of scored) {
      const [cx, cy] = place(x.of(one), y.of(one), width);
      const away = Math.hypot(cx - px, cy - py);
      if (away < distance) [best, distance] = [one.experiment.id, away];
    }
    focused.value = best;
  };
  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        <small>{x.scale.note}</small>
        <span class="space" />
        <Menu label="⋯" name={`More of ${title}`}>
          <SaveFigure
            title={title}
            make={(kind) => drawingOf(kind, title, drawn.current, height, (pen) => draw(pen, drawn.current))}
          />
        </Menu>
      </figcaption>
      <Canvas
        height={height}
        draw={draw}
        over={(context, width) => dots(context, width, pointed(scored))}
        onMove={move}
        onLeave={leave}
        onClick={pick}
        label={`Scatter of ${x.name} against ${y.name}`}
      />
    </figure>
  );
}
