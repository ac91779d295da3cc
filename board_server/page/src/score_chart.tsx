/** One score's chart, of the experiments that are shown. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatIds } from "./address";
import { dark, setView, view } from "./app";
import { Chart } from "./chart";
import { useColouring } from "./colour_key";
import type { Curves } from "./curve";
import { ordinal } from "./format";
import { describe, epochsOf, type Lines, linesOf, xKindOf } from "./lines";
import type { PlotModel } from "./plot_model";
import type { Pool } from "./pool";
import type { Experiment } from "./run_state";
import { type RunStore, TIMES } from "./run_store";
import { isSaved } from "./saved";

/** How the address says which values stretch y, and how a chart does. */
export const CUT = { "": "auto", cut: true, all: false } as const;

interface ScoreChartProps {
  store: RunStore | Pool;
  name: string;
  experiments: readonly Experiment[];
  height?: number;
  /** Of one experiment there is no mean. */
  ungrouped?: boolean;
}

/** One score's chart; where the server decimated, a zoom fetches the detail. */
export function ScoreChart({ store, name, experiments, height, ungrouped }: ScoreChartProps) {
  // Of one experiment there is no mean, and nothing to hide it for.
  const state = ungrouped ? { ...view.value, group: "", hide: [] } : view.value;
  const { run } = store;
  const version = store.version.value;
  const [seen, setSeen] = useState(false);
  const detail = useSignal<{ key: string; curves: Curves } | null>(null);
  const shape = { ...state, x: xKindOf(state, experiments) };
  const zoom = shape.x === state.x ? state.zoom : null; // one of seconds is none of epochs
  const onGrid = !!state.group || shape.x.includes("/");
  const curves = seen ? store.curvesOf(name, onGrid) : undefined;

  const isThinned = useMemo(() => curves?.isThinned, [curves, version]);
  const ids = experiments.map(({ id }) => id);
  const { rgbOf, key: colourKey } = useColouring(store, experiments, !!ungrouped);
  const isAgainst = shape.x.includes("/"); // another score, at the epochs of both
  const across = isAgainst && seen ? store.curvesOf(shape.x, true) : undefined;
  const range = isThinned && zoom && !isAgainst ? epochsOf(run, zoom, shape.x, experiments) : null;
  const zoomKey = range ? [...range, curves!.every, formatIds(ids)].join() : "";
  useEffect(() => {
    detail.value = null;
    if (!zoomKey) return;
    const stop = new AbortController();
    store.detail(name, ids, range!, !!state.group, stop.signal).then(
      (found) => {
        detail.value = { key: zoomKey, curves: found };
      },
      () => {}, // the overview stays
    );
    return () => stop.abort();
  }, [zoomKey]);

  const zoomed = zoomKey && detail.value?.key === zoomKey ? detail.value.curves : undefined;
  const used = zoomed ?? curves;
  const made = useRef<{ key: unknown[]; lines: Lines } | null>(null);
  const lines = (): Lines => {
    const key = [
      used,
      version,
      experiments,
      shape.x,
      shape.smooth,
      shape.best,
      shape.group,
      shape.band,
      shape.bins,
      across,
      dark.value,
      rgbOf,
    ];
    if (made.current?.key.every((part, i) => part === key[i])) return made.current.lines;
    const fresh = linesOf(run, name, experiments, used ?? new Map(), shape, dark.value, {
      overview: zoomed && curves,
      across,
      rgbOf,
    });
    made.current = { key, lines: fresh };
    store.drawn.set(name, fresh);
    return fresh;
  };
  const build = (): PlotModel => {
    const { lines: list, bands, labels } = lines();
    const hidden = new Set<number>(state.group ? [] : state.hide);
    for (const [id, label] of labels) if (state.hideGroups.includes(label)) hidden.add(id);
    return {
      lines: list.filter(({ id }) => !hidden.has(id)),
      bands: bands.filter(({ line }) => !hidden.has(line.id)),
      logx: state.logx,
      logy: state.logy && !state.symlog,
      symlog: state.symlog,
      cut: CUT[state.outliers],
      note: [
        state.smooth > 0 && `smoothed by ${state.smooth.toFixed(2)}`,
        state.best && "best so far",
        state.group && state.band === "std" && "mean ± one deviation",
        state.group && state.band === "quartiles" && "mean, first to third quartile",
        state.group && state.band === "range" && "mean, least to greatest",
      ]
        .filter(Boolean)
        .join(", "),
      colourKey: state.group ? null : colourKey,
      yZoom: state.ranges[name] ?? null,
      xKind: shape.x,
      zoom,
      chosen: new Set(state.group ? [] : state.pick),
      dark: dark.value,
      label: (id) => labels.get(id) ?? describe(run.experiments.get(id)),
    };
  };
  const csv = useMemo(
    () => (experiments.length && !isSaved ? store.tableOf(ids, name) : null),
    [experiments, run.experiments.size],
  );
  const waits = experiments.some(({ status, epochs }) => !epochs && /INIT|RUNNING/.test(status));
  const nothing = !experiments.length
    ? "no experiment fits the filters"
    : waits && run.status !== "LOST"
      ? "no values yet"
      : "none of these has it";
  const { shown, total } = seen ? lines() : { shown: 0, total: 0 };
  const note =
    !used || (total === 0 && store.loading.value > 0)
      ? "loading…"
      : total > shown
        ? `${used.every > 1 ? `every ${ordinal(used.every)} epoch: ` : ""}${shown.toLocaleString("en")} of ${total.toLocaleString("en")} points`
        : total === 0
          ? nothing
          : null;
  return (
    <Chart
      title={name}
      note={note}
      build={build}
      csv={csv}
      x={shape.x}
      wide={state.wide === name}
      onWide={() => setView({ wide: state.wide === name ? "" : name })}
      {...(height ? { height } : {})}
      {...(state.group ? { onPick: () => {} } : {})}
      yZoom={state.ranges[name] ?? null}
      onZoomY={(range) => {
        const { [name]: _old, ...others } = view.value.ranges;
        setView({ ranges: range ? { ...others, [name]: range } : others }, false);
      }}
      onCut={() => setView({ outliers: "" })}
      onAll={() => setView({ outliers: "all" })}
      pinned={state.pin.includes(name)}
      onPin={() =>
        setView({
          pin: state.pin.includes(name) ? state.pin.filter((one) => one !== name) : [...state.pin, name],
        })
      }
      onVisible={() => {
        store.need(name, onGrid);
        if (shape.x.includes("/")) store.need(shape.x, true);
        if (shape.x === "time") store.need(TIMES);
        if (!seen) setSeen(true);
      }}
    />
  );
}
