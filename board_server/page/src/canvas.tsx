/** A canvas of experiments, each of which can be pointed at and chosen. */

import { useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { focused, togglePick, view } from "./app";
import { pixelRatio } from "./pixel_ratio";
import type { Experiment } from "./run_state";
import type { Pen } from "./svg";

export interface Scored {
  experiment: Experiment;
  score: number | null; // null: it has no finite one
}

/** A canvas that fits its box and is drawn anew when `draw` changes, or its size. */
export function Canvas({
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

export const leave = () => {
  focused.value = null;
};
export const pick = () => focused.value !== null && togglePick(focused.value);

/** Draw faint first, then what is chosen or under the pointer. */
export function inOrder(scored: readonly Scored[]): { one: Scored; weight: number }[] {
  const chosen = new Set(view.value.pick);
  const weigh = ({ experiment: { id } }: Scored) =>
    id === focused.value ? 2 : chosen.size ? (chosen.has(id) ? 1 : 0) : 0.5;
  return scored.map((one) => ({ one, weight: weigh(one) })).sort((a, b) => a.weight - b.weight);
}

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
