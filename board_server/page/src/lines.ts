/** From a run's curves and a view's state to the lines of a chart. Derived arrays are kept as long as their curve. */

import { colourOf } from "./colours";
import type { Curve } from "./curve";
import { candidates, cellOf, hyperparameterNames, type ModeOf } from "./filter";
import { formatValue } from "./format";
import type { BandShape } from "./line_layer";
import type { Line } from "./raster";
import type { Experiment, Run } from "./run_state";
import { bestSoFar, meanAndBand, smooth } from "./statistics";
import type { ViewState } from "./view_state";

type Shape = Pick<ViewState, "x" | "smooth" | "best" | "group" | "band">;

const derived = new WeakMap<Curve, { key: string; y: ArrayLike<number> }>();
const clocks = new WeakMap<Curve, { key: string; x: Float64Array }>();

export function scoreMode(run: Run, name: string): "max" | "min" {
  if (name === run.monitor) return run.mode;
  return /loss|error|perplexity|brier|calibration|mse|mae|nll/i.test(name) ? "min" : "max";
}

/** The same for all scores of a run. */
export const modesOf =
  (run: Run): ModeOf =>
  (name) =>
    scoreMode(run, name);

function valuesOf(run: Run, name: string, curve: Curve, shape: Shape): ArrayLike<number> {
  if (!shape.smooth && !shape.best) return curve.values;
  const mode = shape.best === "auto" ? scoreMode(run, name) : shape.best;
  const key = `${curve.n}|${mode}|${shape.smooth}`;
  const kept = derived.get(curve);
  if (kept?.key === key) return kept.y;
  let y: ArrayLike<number> = curve.values;
  if (mode) y = bestSoFar(y, curve.n, mode);
  if (shape.smooth) y = smooth(y, curve.n, shape.smooth);
  derived.set(curve, { key, y });
  return y;
}

/** Steps an epoch, as the experiment's progress tells; 1 where it tells nothing. */
export function stepsAnEpoch(experiment: Experiment): number {
  return experiment.progress?.num_batches || 1;
}

/** Seconds since the experiment's start, at the curve's epochs. */
function clockOf(run: Run, experiment: Experiment, curve: Curve): Float64Array | null {
  const times = run.times?.get(experiment.id);
  if (!times?.n) return null;
  const start = experiment.started ?? run.startedMs ?? times.values[0]!;
  const key = `${curve.n}|${times.n}|${start}`;
  const kept = clocks.get(curve);
  if (kept?.key === key) return kept.x;
  const x = new Float64Array(curve.n);
  for (let i = 0; i < curve.n; i++) x[i] = Math.max(0, (times.at(curve.epochs[i]!) - start) / 1000);
  for (let i = 1; i < x.length; i++) if (!(x[i]! >= x[i - 1]!)) x[i] = x[i - 1]!; // clocks may go back
  clocks.set(curve, { key, x });
  return x;
}

export function lineOf(
  run: Run,
  name: string,
  experiment: Experiment,
  curve: Curve,
  shape: Shape,
  dark: boolean,
): Line | null {
  const y = valuesOf(run, name, curve, shape);
  const base = { id: experiment.id, ox: 0, kx: 1, y, n: curve.n, rgb: colourOf(experiment.id, dark) };
  if (shape.x === "step") return { ...base, x: curve.epochs, kx: stepsAnEpoch(experiment) };
  if (shape.x === "time") {
    const x = clockOf(run, experiment, curve);
    return x && { ...base, x };
  }
  return { ...base, x: curve.epochs };
}

export interface Lines {
  lines: Line[];
  bands: BandShape[];
  labels: Map<number, string>;
  shown: number;
  total: number;
}

/** All lines of one score: one an experiment, or one with its band a value of the grouping hyperparameter. */
export function linesOf(
  run: Run,
  name: string,
  experiments: readonly Experiment[],
  curves: ReadonlyMap<number, Curve>,
  shape: Shape,
  dark: boolean,
): Lines {
  const result: Lines = { lines: [], bands: [], labels: new Map(), shown: 0, total: 0 };
  const single: { experiment: Experiment; curve: Curve; line: Line }[] = [];
  for (const experiment of experiments) {
    const curve = curves.get(experiment.id);
    const line = curve && lineOf(run, name, experiment, curve, shape, dark);
    if (!line) continue;
    result.shown += curve.n;
    result.total += curve.total;
    single.push({ experiment, curve, line });
  }
  if (!shape.group) {
    result.lines = single.map(({ line }) => line);
    return result;
  }
  const byId = new Map(single.map((one) => [one.experiment.id, one]));
  groupsOf(experiments, shape.group).forEach(([label, all], i) => {
    const members = all.map(({ id }) => byId.get(id)).filter((one) => one !== undefined);
    if (!members.length) return;
    const { epochs, mean, low, high } = meanAndBand(
      members.map(({ curve, line }) => ({ epochs: curve.epochs, values: line.y, n: curve.n })),
      shape.band,
    );
    const kx = shape.x === "step" ? stepsAnEpoch(members[0]!.experiment) : 1;
    const line: Line = { id: i, x: epochs, kx, ox: 0, y: mean, n: mean.length, rgb: colourOf(i, dark) };
    result.lines.push(line);
    if (shape.band !== "none") result.bands.push({ line, low, high });
    result.labels.set(i, `${label} · mean of ${members.length}`);
  });
  return result;
}

/** Experiments by a hyperparameter's value, the values in order, so that a value has the same colour in all charts. */
export function groupsOf(
  experiments: readonly Experiment[],
  group: string,
): [label: string, members: Experiment[]][] {
  const groups = new Map<string, Experiment[]>();
  for (const experiment of candidates(experiments)) {
    const cell = cellOf(experiment, group);
    const key = group === "(all)" ? "all experiments" : `${group} = ${cell ?? "(none)"}`;
    const members = groups.get(key);
    if (members) members.push(experiment);
    else groups.set(key, [experiment]);
  }
  const value = (members: Experiment[]) => cellOf(members[0]!, group);
  return [...groups].sort(
    ([a, one], [b, other]) =>
      Number(value(one)) - Number(value(other)) || a.localeCompare(b, "en", { numeric: true }),
  );
}

/** What names an experiment to a person: its number and what was swept. */
export function describe(experiment: Experiment | undefined): string {
  if (!experiment) return "";
  const swept = hyperparameterNames([experiment]).map(
    (name) => `${name}=${formatValue(experiment.hyperparameters[name])}`,
  );
  const fold = experiment.fold === null ? [] : [`fold ${experiment.fold}`];
  return [`#${experiment.id}`, ...fold, ...(experiment.refit ? ["refit"] : []), ...swept].join(" · ");
}
