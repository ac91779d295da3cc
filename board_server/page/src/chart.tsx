/** A chart as a component: it is drawn only while in sight, and its lines are made only then. */

import { useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { focused, setView, togglePick } from "./app";
import { Field, Menu } from "./controls";
import { drawSoon } from "./drawing";
import { pngOf, svgOf } from "./figure";
import { formatTick } from "./format";
import { pixelRatio } from "./pixel_ratio";
import { Plot } from "./plot";
import type { PlotModel } from "./plot_model";
import type { YView } from "./ranges";
import { type Kind, SaveFigure } from "./save_figure";
import { readRange, type ViewState } from "./view_state";

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
  /** What keeps a few values from stretching it, and what shows all of them. */
  onCut?: () => void;
  onAll?: () => void;
  /** Whether it comes before the others, and what changes it. */
  pinned?: boolean;
  onPin?: () => void;
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
    onCut,
    onAll,
    pinned,
    onPin,
    apart,
    onPick = togglePick,
  } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const [visible, setVisible] = useState(false);
  const [ownY, setOwnY] = useState<readonly [number, number] | null>(null);
  const { yZoom = ownY, onZoomY = setOwnY } = props;
  const now = useRef({ onPick, onZoomY, x });
  now.current = { onPick, onZoomY, x }; // what is drawn changes, the plot stays
  void pixelRatio.value; // drawn anew where it changes
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const [shown, setShown] = useState<Pick<YView, "left" | "stretched" | "isCut" | "scaling"> | null>(null);

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
      zoom: (range, yRange) => {
        const fits = yRange?.every(Number.isFinite) && yRange[0] < yRange[1];
        if (yRange === null || fits) now.current.onZoomY(yRange ?? null);
        if (range === undefined) return;
        if (apart) setZoom(range);
        // Of both, one step back.
        else setView({ zoom: range, ...(range && { x: now.current.x }) }, !!fits);
      },
      say: ({ left, stretched, isCut, scaling }) => {
        const same = (old: typeof shown) =>
          old?.left === left &&
          old.stretched === stretched &&
          old.isCut === isCut &&
          old.scaling.linear === scaling.linear;
        setShown((old) => (same(old) ? old : { left, stretched, isCut, scaling }));
      },
      focus: (id) => {
        if (!apart) focused.value = id;
      },
      pick: (id) => apart || now.current.onPick(id),
    });
    const one = plot.current;
    drawSoon(one, () => {
      if (one === plot.current) one.update({ yZoom, ...build(), ...(apart && { zoom }) });
    });
  });

  useSignalEffect(() => {
    const id = focused.value; // read in any case: there may be no plot yet
    if (!apart) plot.current?.setFocus(id);
  });

  const make = (kind: Kind) => {
    if (!plot.current?.model) return null;
    const figure = plot.current.figure(title);
    return kind === "svg" ? svgOf(figure) : pngOf(figure);
  };
  return (
    <figure class={`chart ${wide ? "wide" : ""}`}>
      <figcaption>
        <h2>
          {pinned && <span title="Pinned: it comes first">★ </span>}
          {title}
        </h2>
        <span class="space" />
        {note && <small>{note}</small>}
        {shown?.scaling.linear && (
          <small>symmetric log, linear up to ±{formatTick(shown.scaling.linear)}</small>
        )}
        {shown?.left && (
          <small class="warn" role="status">
            {shown.left}
          </small>
        )}
        {shown?.isCut && onAll && (
          <button type="button" class="link" title="Let these lines stretch y" onClick={onAll}>
            show all
          </button>
        )}
        {shown?.stretched && onCut && (
          <button type="button" class="link" title="A few values stretch y" onClick={onCut}>
            without outliers
          </button>
        )}
        {yZoom && (
          <button type="button" class="link" onClick={() => onZoomY(null)}>
            all of y
          </button>
        )}
        <Menu label="⋯" name={`More of ${title}`}>
          {onWide && (
            <button type="button" onClick={onWide}>
              {wide ? "Smaller" : "Larger"}
            </button>
          )}
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
          {onPin && (
            <button type="button" aria-pressed={!!pinned} onClick={onPin}>
              {pinned ? "Unpin" : "Pin first"}
            </button>
          )}
          <SaveFigure title={title} make={make} />
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
