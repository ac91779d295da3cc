/** A chart as a component: it is drawn only while in sight, and its lines are made only then. */

import { useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { download, focused, setView, togglePick } from "./app";
import { Field, Menu } from "./controls";
import { pixelRatio } from "./pixel_ratio";
import { Plot } from "./plot";
import type { PlotModel } from "./plot_model";
import { readRange, type ViewState } from "./view_state";

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
  const [first] = waiting;
  if (first) {
    waiting.delete(first[0]);
    try {
      first[1]();
    } catch (error) {
      console.error(error); // one chart that cannot be drawn must not stop the others
    }
  }
  if (waiting.size) {
    setTimeout(drawOne);
    return;
  }
  scheduled = false;
  performance.clearMarks(DRAWN);
  performance.mark(DRAWN);
}

interface ChartProps {
  title: string;
  note?: ComponentChildren;
  height?: number;
  /** Where all its logged values are to be had. */
  csv?: string | null;
  wide?: boolean;
  onWide?: () => void;
  /** Called when the chart is in sight and something it shows may have changed. */
  build: () => PlotModel;
  /** Called once the chart comes into sight: time to load. */
  onVisible?: () => void;
  syncKey?: string;
  /** What its x is, which a zoom says, too. */
  x?: ViewState["x"];
  /** The part of y that it shows, and what changes it. */
  yZoom?: readonly [number, number] | null;
  onZoomY?: (range: [number, number] | null) => void;
  /** What keeps a few values from stretching it. */
  onCut?: () => void;
  /** Its lines are no experiments: it has a zoom of its own, and none is chosen. */
  apart?: boolean;
  onPick?: (id: number) => void;
}

export function Chart(props: ChartProps) {
  const {
    title,
    note,
    height = 240,
    build,
    csv,
    wide,
    onWide,
    onVisible,
    syncKey = "analysis",
    x = "epoch",
    yZoom,
    onZoomY,
    onCut,
    apart,
    onPick = togglePick,
  } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const [visible, setVisible] = useState(false);
  const now = useRef({ onPick, onZoomY, x });
  now.current = { onPick, onZoomY, x }; // what is drawn changes, the plot stays
  void pixelRatio.value; // drawn anew where it changes
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const [left, setLeft] = useState("");
  const [stretched, setStretched] = useState(false);

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
    plot.current ??= new Plot(host.current!, syncKey, {
      zoom: (range) =>
        apart ? setZoom(range) : setView({ zoom: range, ...(range && { x: now.current.x }) }, false),
      zoomY: (range) => {
        if (!range || (range.every(Number.isFinite) && range[0] < range[1])) now.current.onZoomY?.(range);
      },
      say: (shown) => {
        setLeft(shown.left);
        setStretched(shown.stretched);
      },
      focus: (id) => {
        if (!apart) focused.value = id;
      },
      pick: (id) => apart || now.current.onPick(id),
    });
    const one = plot.current;
    drawSoon(one, () => {
      if (one === plot.current) one.update(apart ? { ...build(), zoom } : build());
    });
  });

  useSignalEffect(() => {
    const id = focused.value; // read in any case: there may be no plot yet
    if (!apart) plot.current?.setFocus(id);
  });

  return (
    <figure class={`chart ${wide ? "wide" : ""}`}>
      <figcaption>
        <h2>{title}</h2>
        <span class="space" />
        {note && <small>{note}</small>}
        {left && (
          <small class="warn" role="status">
            {left}
          </small>
        )}
        {stretched && onCut && (
          <button type="button" class="link" title="A few values stretch y" onClick={onCut}>
            without outliers
          </button>
        )}
        {yZoom && (
          <button type="button" class="link" onClick={() => onZoomY?.(null)}>
            all of y
          </button>
        )}
        <Menu label="⋯" name={`More of ${title}`}>
          {onWide && (
            <button type="button" onClick={onWide}>
              {wide ? "Smaller" : "Larger"}
            </button>
          )}
          {onZoomY && (
            <Field
              label="y from..to"
              value={yZoom ? yZoom.map((end) => Number(end.toPrecision(6))).join("..") : ""}
              placeholder="0.5..1"
              check={(text) =>
                !text.trim() || readRange(text)
                  ? { ok: true, value: null }
                  : { ok: false, error: "a range is written 0.5..1, the lesser end first" }
              }
              onCommit={(text) => onZoomY(readRange(text))}
            />
          )}
          <button
            type="button"
            onClick={() =>
              plot.current?.model &&
              download(`${title.replace(/\W+/g, "-")}.svg`, plot.current.svg(title), "image/svg+xml")
            }
          >
            Save as SVG
          </button>
          {csv && (
            <a class="button" href={csv} download>
              Logged values as CSV
            </a>
          )}
        </Menu>
      </figcaption>
      <div
        class="plot"
        ref={host}
        style={{ height: `${wide ? 520 : height}px` }}
        role="group"
        tabIndex={0}
        aria-label={`Chart of ${title}. Arrow keys read its values, plus and minus zoom, with Shift up and down zoom y.`}
      />
    </figure>
  );
}
