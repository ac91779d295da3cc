/** A canvas of experiments, each of which can be pointed at and chosen. */

import { useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { focused, togglePick, view } from "./app";
import { drawSoon } from "./drawing";
import { pixelRatio } from "./pixel_ratio";
import type { Experiment } from "./run_state";
import type { Pen } from "./svg";

export interface Scored {
  experiment: Experiment;
  score: number | null; // null: it has no finite one
}

/**
 * A canvas that fits its box and is drawn anew when `draw` changes, or its size, as long as it is in sight. What `draw` drew is
 * kept, so that `over`, what is under the pointer, is drawn at once over thousands.
 */
export function Canvas({
  height,
  draw,
  over,
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
  over: (context: CanvasRenderingContext2D, width: number) => void;
  onMove: (x: number, y: number, width: number) => void;
  onLeave: () => void;
  onClick: () => void;
  /** A vertical drag of the mouse, while it goes on and when it ends; it takes the place of the move and the click. */
  onDrag?: (x: number, from: number, to: number, width: number, ended: boolean) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const pressed = useRef<[x: number, y: number] | null>(null);
  const dragged = useRef(false);
  const now = useRef({ draw, over });
  now.current = { draw, over };
  const below = useRef<HTMLCanvasElement | null>(null); // what `draw` drew
  const inSight = useRef(false);
  const paint = () => {
    const [element, kept] = [canvas.current, below.current];
    if (!element || !kept) return;
    const ratio = pixelRatio.peek();
    [element.width, element.height] = [kept.width, kept.height];
    const context = element.getContext("2d")!;
    context.drawImage(kept, 0, 0);
    context.scale(ratio, ratio);
    now.current.over(context, kept.width / ratio);
  };
  const drawAnew = () => {
    const width = canvas.current?.clientWidth ?? 0;
    if (!width || !inSight.current) return;
    const ratio = pixelRatio.peek();
    below.current ??= document.createElement("canvas");
    const kept = below.current;
    [kept.width, kept.height] = [width * ratio, height * ratio];
    const context = kept.getContext("2d")!;
    context.scale(ratio, ratio);
    now.current.draw(context, width);
    paint();
  };
  const soon = () => drawSoon(canvas, drawAnew);
  useLayoutEffect(() => {
    const sized = new ResizeObserver(soon);
    sized.observe(canvas.current!);
    const seen = new IntersectionObserver(
      ([entry]) => {
        inSight.current = entry!.isIntersecting;
        soon();
      },
      { rootMargin: "150px" },
    );
    seen.observe(canvas.current!);
    return () => {
      sized.disconnect();
      seen.disconnect();
    };
  }, []);
  useLayoutEffect(soon);
  useSignalEffect(() => {
    void pixelRatio.value;
    soon();
  });
  useSignalEffect(() => {
    void focused.value;
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

export const leave = () => {
  focused.value = null;
};
export const pick = () => focused.value !== null && togglePick(focused.value);

/** Draw faint first, then what is chosen. */
export function inOrder(scored: readonly Scored[]): { one: Scored; weight: number }[] {
  const chosen = new Set(view.value.pick);
  const weigh = ({ experiment: { id } }: Scored) => (chosen.size ? (chosen.has(id) ? 1 : 0) : 0.5);
  return scored.map((one) => ({ one, weight: weigh(one) })).sort((a, b) => a.weight - b.weight);
}

/** What is under the pointer, as `inOrder` says it of the others. */
export const pointed = (scored: readonly Scored[]) =>
  scored.filter(({ experiment: { id } }) => id === focused.value).map((one) => ({ one, weight: 2 }));

/** A text that fits, without its middle if need be: what tells values apart is mostly at their ends. */
export function within(context: Pick<Pen, "measureText">, text: string, width: number): string {
  let kept = Number.isNaN(Number(text)) ? text.length : 0; // of a number each part counts
  let shown = text;
  while (context.measureText(shown).width > width && kept > 4) {
    kept--;
    shown = `${text.slice(0, kept >> 1)}…${text.slice(text.length - ((kept + 1) >> 1))}`;
  }
  return shown;
}
