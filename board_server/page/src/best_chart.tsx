/** The chart of the score that a run is judged by: its best experiments, and the best of all so far. */

import { useMemo } from "preact/hooks";
import { dark, setView, togglePick, view } from "./app";
import { Chart } from "./chart";
import { colourOf, coloursOf } from "./colours";
import { candidates } from "./filter";
import { describe, linesOf, xKindOf } from "./lines";
import type { Line } from "./raster";
import type { Experiment, Run } from "./run_state";
import { type RunStore, TIMES } from "./run_store";
import { CUT } from "./score_chart";
import { bestOfAll } from "./statistics";

const ALL = -1; // stands where an experiment's id does

/** The curves of the best experiments, and the best of all so far. */
export function BestChart({ store, by, mode, top }: ChartOf) {
  const { run } = store;
  const state = view.value;
  const x = xKindOf({ x: state.x.includes("/") ? "epoch" : state.x, group: "" }, top);
  const curves = store.curvesOf(by, false);
  const places = coloursOf(
    top.map(({ id }) => id),
    [],
  );
  const version = store.version.value;
  const all = useMemo(
    () => (x === "epoch" && curves ? bestSoFarOf(run, curves, mode) : []),
    [run, version, curves, mode, x, dark.value],
  );
  const build = () => {
    const shape = { ...state, x, group: "" };
    const { lines } = linesOf(run, by, top, curves ?? new Map(), shape, dark.value, {
      rgbOf: (id) => colourOf(places(id), dark.value),
    });
    return {
      lines: [...all, ...lines],
      bands: [],
      logx: state.logx,
      logy: state.logy && !state.symlog,
      symlog: state.symlog,
      cut: CUT[state.outliers],
      yZoom: state.ranges[by] ?? null,
      xKind: x,
      zoom: state.zoom,
      chosen: new Set(state.pick),
      dark: dark.value,
      label: (id: number) => (id === ALL ? "best of all so far" : describe(run.experiments.get(id))),
    };
  };
  return (
    <Chart
      title={by}
      note={
        !curves
          ? "loading…"
          : `${top.length > 1 ? `the best ${top.length}` : "the best"}${x === "epoch" ? "; grey: the best of all so far" : ""}`
      }
      height={300}
      build={build}
      x={x}
      yZoom={state.ranges[by] ?? null}
      onZoomY={(range) => {
        const { [by]: _old, ...others } = view.value.ranges;
        setView({ ranges: range ? { ...others, [by]: range } : others }, false);
      }}
      onCut={() => setView({ outliers: "" })}
      onAll={() => setView({ outliers: "all" })}
      onPick={(id) => id !== ALL && togglePick(id)}
      onVisible={() => {
        store.need(by);
        if (x === "time") store.need(TIMES);
      }}
    />
  );
}

interface ChartOf {
  store: RunStore;
  by: string;
  mode: "max" | "min";
  top: readonly Experiment[];
}

function bestSoFarOf(
  run: Run,
  curves: ReadonlyMap<number, { epochs: ArrayLike<number>; values: ArrayLike<number>; n: number }>,
  mode: "max" | "min",
): Line[] {
  const own = candidates(run.experiments.values()).map(({ id }) => curves.get(id));
  const { epochs, values } = bestOfAll(
    own.filter((curve) => curve !== undefined),
    mode,
  );
  const grey = dark.value ? 120 : 150;
  return [
    { id: ALL, x: epochs, kx: 1, ox: 0, y: values, n: epochs.length, rgb: [grey, grey + 4, grey + 12] },
  ];
}
