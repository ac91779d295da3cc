/** One score's chart, of the experiments that are shown. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatIds } from "./address";
import { dark, setView, view } from "./app";
import { Chart } from "./chart";
import { coloursOf } from "./colours";
import type { Curves } from "./curve";
import { ordinal } from "./format";
import { describe, epochsOf, type Lines, linesOf, xKindOf } from "./lines";
import type { PlotModel } from "./plot_model";
import type { Experiment } from "./run_state";
import { type RunStore, TIMES } from "./run_store";
import { encode } from "./wire";

interface ScoreChartProps {
  store: RunStore;
  name: string;
  experiments: readonly Experiment[];
  height?: number;
  /** Of one experiment there is no mean. */
  ungrouped?: boolean;
}

/** One score's chart; where the server decimated, a zoom fetches the detail. */
export function ScoreChart({ store, name, experiments, height, ungrouped }: ScoreChartProps) {
  const state = ungrouped ? { ...view.value, group: "" } : view.value;
  const { run } = store;
  const version = store.version.value;
  const [seen, setSeen] = useState(false);
  const detail = useSignal<{ key: string; curves: Curves } | null>(null);
  const shape = { ...state, x: xKindOf(state, experiments) };
  const zoom = shape.x === state.x ? state.zoom : null; // one of seconds is none of epochs
  const curves = seen ? store.curvesOf(name, !!state.group) : undefined;

  const isThinned = useMemo(() => curves?.isThinned, [curves, version]);
  const ids = experiments.map(({ id }) => id);
  const placeOf = useMemo(() => coloursOf(ids, state.pick), [experiments, formatIds(state.pick)]);
  const range = isThinned && zoom ? epochsOf(run, zoom, shape.x, experiments) : null;
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
      dark.value,
      placeOf,
    ];
    if (made.current?.key.every((part, i) => part === key[i])) return made.current.lines;
    const before = zoomed && curves;
    const fresh = linesOf(run, name, experiments, used ?? new Map(), shape, dark.value, before, placeOf);
    made.current = { key, lines: fresh };
    store.drawn.set(name, fresh);
    return fresh;
  };
  const build = (): PlotModel => {
    const { lines: list, bands, labels } = lines();
    return {
      lines: list,
      bands,
      logx: state.logx,
      logy: state.logy,
      cut: state.outliers === "cut",
      yZoom: state.ranges[name] ?? null,
      xKind: shape.x,
      zoom,
      chosen: new Set(state.group ? [] : state.pick),
      dark: dark.value,
      label: (id) => labels.get(id) ?? describe(run.experiments.get(id)),
    };
  };
  const csv = useMemo(() => {
    const which = experiments.length ? store.idsQuery(ids) : null;
    return which === null
      ? null
      : `grid_searches/${encode(run.id)}/scores?format=csv&name=${encode(name)}${which}`;
  }, [experiments, run.experiments.size]);
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
      onCut={() => setView({ outliers: "cut" })}
      onVisible={() => {
        store.need(name, !!state.group);
        if (shape.x === "time") store.need(TIMES);
        if (!seen) setSeen(true);
      }}
    />
  );
}
