/** A chart as a component: it is drawn only while in sight, and its lines are made only then. */

import { useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { focused, setView, togglePick } from "./app";
import { Plot, type PlotModel } from "./plot";

// Charts are drawn one a task and after the frame that answers a key or click, so that none of many keeps the page waiting.
const waiting = new Map<object, () => void>();
let scheduled = false;
const DRAWN = "charts drawn"; // for whoever measures

function drawSoon(chart: object, draw: () => void): void {
  waiting.set(chart, draw);
  schedule();
}

function schedule(): void {
  if (scheduled || !waiting.size) return;
  scheduled = true;
  requestAnimationFrame(() => setTimeout(drawOne));
}

function drawOne(): void {
  scheduled = false;
  const [first] = waiting;
  if (first) {
    waiting.delete(first[0]);
    first[1]();
  }
  if (!waiting.size) {
    performance.clearMarks(DRAWN);
    performance.mark(DRAWN);
  }
  schedule();
}

interface ChartProps {
  title: string;
  note?: ComponentChildren;
  height?: number;
  /** Called when the chart is in sight and something it shows may have changed. */
  build: () => PlotModel;
  /** Called once the chart comes into sight: time to load. */
  onVisible?: () => void;
  syncKey?: string;
  onZoom?: (range: [number, number] | null) => void;
  onPick?: (id: number) => void;
}

export function Chart(props: ChartProps) {
  const {
    title,
    note,
    height = 240,
    build,
    onVisible,
    syncKey = "analysis",
    onZoom,
    onPick = togglePick,
  } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const [visible, setVisible] = useState(false);
  const zoom = useRef(onZoom);
  zoom.current = onZoom;

  useEffect(() => {
    const element = host.current!;
    const seen = new IntersectionObserver(([entry]) => setVisible(entry!.isIntersecting), {
      rootMargin: "150px",
    });
    seen.observe(element);
    const sized = new ResizeObserver(() => plot.current?.resize());
    sized.observe(element);
    return () => {
      seen.disconnect();
      sized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useLayoutEffect(() => {
    if (!visible) return;
    onVisible?.();
    plot.current ??= new Plot(host.current!, height, syncKey, {
      zoom: (range) => (zoom.current ? zoom.current(range) : setView({ zoom: range }, false)),
      focus: (id) => {
        focused.value = id;
      },
      pick: onPick,
    });
    const one = plot.current;
    drawSoon(one, () => {
      if (one === plot.current) one.update(build());
    });
  });

  useSignalEffect(() => plot.current?.setFocus(focused.value));

  return (
    <figure class="chart">
      <figcaption>
        <h2>{title}</h2>
        {note && <small>{note}</small>}
      </figcaption>
      <div
        class="plot"
        ref={host}
        style={{ height: `${height}px` }}
        role="group"
        tabIndex={0}
        aria-label={`Chart of ${title}. Arrow keys read its values, plus and minus zoom.`}
      />
    </figure>
  );
}
