/** From a run's curves and a view's state to the lines of a chart. Derived arrays are kept as long as their curve. */

import { colourOf, type Rgb } from "./colours";
import { Curve, lowerBound } from "./curve";
import { hyperparameterNames, type ModeOf } from "./filter";
import { formatValue } from "./format";
import { groupsOf } from "./groups";
import type { BandShape } from "./line_layer";
import { defaultMode } from "./monitor";
import { divergences, type Line, xOf } from "./raster";
import type { Experiment, Run } from "./run_state";
import { bestSoFar, meanAndBand, smooth } from "./statistics";
import type { ViewState, X } from "./view_state";

type Shape = Pick<ViewState, "x" | "smooth" | "best" | "group" | "band" | "bins">;

const derived = new WeakMap<Curve, { key: string; y: ArrayLike<number> }>();
const clocks = new WeakMap<Curve, { key: string; x: Float64Array }>();
const joints = new WeakMap<Curve, { key: string; curve: Curve }>();

export const scoreMode = (run: Run, name: string): "max" | "min" =>
  name === run.monitor ? run.mode : defaultMode(run.config, name);

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
  if (shape.smooth) y = smooth(y, curve.epochs, curve.n, shape.smooth);
  derived.set(curve, { key, y });
  return y;
}

/** The detail of a zoom, between what the overview has before and behind it: the best so far does not begin anew. */
function joined(detail: Curve, overview: Curve | undefined): Curve {
  if (!overview?.n || !detail.n) return overview ?? detail;
  const key = `${detail.n}|${overview.n}`;
  const kept = joints.get(detail);
  if (kept?.key === key) return kept.curve;
  const before = lowerBound(overview.epochs, overview.n, detail.epochs[0]!);
  const behind = lowerBound(overview.epochs, overview.n, detail.lastEpoch + 1);
  const n = before + detail.n + overview.n - behind;
  const [epochs, values] = [new Int32Array(n), new Float64Array(n)];
  for (const [from, to, source, at] of [
    [0, before, overview, 0],
    [0, detail.n, detail, before],
    [behind, overview.n, overview, before + detail.n],
  ] as const) {
    epochs.set(source.epochs.subarray(from, to), at);
    values.set(source.values.subarray(from, to), at);
  }
  const curve = new Curve(epochs, values);
  joints.set(detail, { key, curve });
  return curve;
}

/** Steps an epoch, as the experiment's progress tells; 1 where it tells nothing. */
export function stepsAnEpoch(experiment: Experiment): number {
  return experiment.progress?.num_batches || 1;
}

/** Steps an epoch of all of them; NaN if they differ, 1 as long as none tells. */
export function commonSteps(experiments: readonly Experiment[]): number {
  const known = new Set(experiments.filter(({ progress }) => progress).map(stepsAnEpoch));
  return known.size > 1 ? NaN : ([...known][0] ?? 1);
}

/** What x can be: means are taken at equal epochs, and only where these are equal steps can x be the step. */
export function xKindOf(
  { x, group, bins }: Pick<Shape, "x" | "group"> & { bins?: number },
  experiments: readonly Experiment[],
): X {
  if (!group) return x;
  return x === "step" && groupsOf(experiments, group, bins).every(([, members]) => commonSteps(members))
    ? x
    : "epoch";
}

/** Seconds that the experiment had trained at the curve's epochs; if its log does not say, seconds since its first. */
function clockOf(run: Run, { id }: Experiment, curve: Curve): Float64Array | null {
  const times = run.times?.get(id);
  if (!times?.n) return null;
  const trained = run.seconds?.get(id);
  const told = trained?.n ? Number.isFinite(trained.values[trained.n - 1]) : false;
  const key = `${curve.n}|${times.n}|${told}`;
  const kept = clocks.get(curve);
  if (kept?.key === key) return kept.x;
  const x = new Float64Array(curve.n);
  for (let i = 0; i < curve.n; i++) {
    const epoch = curve.epochs[i]!;
    x[i] = told ? trained!.at(epoch) : Math.max(0, (times.at(epoch) - times.values[0]!) / 1000);
  }
  for (let i = 1; i < x.length; i++) if (!(x[i]! >= x[i - 1]!)) x[i] = x[i - 1]!; // clocks may go back
  clocks.set(curve, { key, x });
  return x;
}

/** Between which epochs these experiments are within a range on x; null where none is, or it is not known yet. */
export function epochsOf(
  run: Run,
  range: readonly [number, number],
  x: Shape["x"],
  experiments: readonly Experiment[],
): [number, number] | null {
  if (x === "epoch") return [...range];
  let [from, to] = [Infinity, -Infinity];
  for (const experiment of experiments) {
    let ends = range.map((end) => end / stepsAnEpoch(experiment));
    if (x === "time") {
      const times = run.times?.get(experiment.id);
      const clock = times && clockOf(run, experiment, times);
      if (!clock || !(clock.at(-1)! >= range[0])) continue;
      const [first, last] = range.map((end) => lowerBound(clock, times.n, end));
      ends = [times.epochs[Math.max(0, first! - 1)]!, last! < times.n ? times.epochs[last!]! : Infinity];
    } else if (!experiment.progress) continue;
    [from, to] = [Math.min(from, ends[0]!), Math.max(to, ends[1]!)];
  }
  return from <= to ? [from, to] : null;
}

/** What lines are made of besides their own curves. */
interface Around {
  /** Where the curves are the detail of a zoom, the curves around it. */
  overview?: ReadonlyMap<number, Curve> | undefined;
  /** The curves of the score on x. */
  across?: ReadonlyMap<number, Curve> | undefined;
  rgbOf?: ((id: number) => Rgb) | undefined;
}

export function lineOf(
  run: Run,
  name: string,
  experiment: Experiment,
  curve: Curve,
  shape: Shape,
  rgb: Rgb,
  across?: Curve,
): Line | null {
  const y = valuesOf(run, name, curve, shape);
  const line: Line = {
    id: experiment.id,
    ox: 0,
    kx: 1,
    x: curve.epochs,
    y,
    n: curve.n,
    rgb,
  };
  if (shape.x.includes("/"))
    return across
      ? against({ ...curve, values: y }, { ...across, values: valuesOf(run, shape.x, across, shape) }, line)
      : null;
  const base = shape.smooth && !shape.group ? { ...line, raw: curve.values } : line;
  if (shape.x === "step") return { ...base, kx: stepsAnEpoch(experiment) };
  if (shape.x === "time") {
    const x = clockOf(run, experiment, curve);
    return x && { ...base, x };
  }
  return base;
}

export interface Lines {
  lines: Line[];
  bands: BandShape[];
  labels: Map<number, string>;
  shown: number;
  total: number;
}

type Values = { epochs: ArrayLike<number>; values: ArrayLike<number>; n: number };

/** One score over another, at the epochs of both, in their order; where either is not finite, the line ends and goes on. */
export function against(y: Values, x: Values, line: Line): Line {
  const size = Math.min(x.n, y.n);
  const [xs, ys, epochs] = [new Float64Array(size), new Float64Array(size), new Int32Array(size)];
  const marks: [number, number][] = [];
  let n = 0;
  for (let i = 0, k = 0; i < y.n && k < x.n; ) {
    const [a, b] = [y.epochs[i]!, x.epochs[k]!];
    if (a === b) {
      const isPoint = Number.isFinite(x.values[k]!) && Number.isFinite(y.values[i]!);
      epochs[n] = a;
      // What is not finite has no place on x: it stands where the line was last.
      xs[n] = isPoint ? x.values[k]! : n ? xs[n - 1]! : NaN;
      ys[n] = isPoint ? y.values[i]! : NaN;
      if (!isPoint && n && Number.isFinite(ys[n - 1]!)) marks.push([xs[n - 1]!, ys[n - 1]!]);
      n++;
    }
    if (a <= b) i++;
    if (b <= a) k++;
  }
  return { ...line, x: xs, y: ys, n, epochs, marks };
}

/** All lines of one score: one an experiment, or one with its band a value of the grouping hyperparameter. */
export function linesOf(
  run: Run,
  name: string,
  experiments: readonly Experiment[],
  curves: ReadonlyMap<number, Curve>,
  shape: Shape,
  dark: boolean,
  { overview, across, rgbOf = (id) => colourOf(id, dark) }: Around = {},
): Lines {
  const result: Lines = { lines: [], bands: [], labels: new Map(), shown: 0, total: 0 };
  const single: { experiment: Experiment; curve: Curve; line: Line }[] = [];
  for (const experiment of experiments) {
    const own = curves.get(experiment.id);
    const curve = own && overview ? joined(own, overview.get(experiment.id)) : own;
    const line =
      curve && lineOf(run, name, experiment, curve, shape, rgbOf(experiment.id), across?.get(experiment.id));
    if (!line) continue;
    result.shown += own!.n;
    result.total += own!.total;
    single.push({ experiment, curve, line });
  }
  if (!shape.group) {
    result.lines = single.map(({ line }) => line);
    return result;
  }
  const byId = new Map(single.map((one) => [one.experiment.id, one]));
  groupsOf(experiments, shape.group, shape.bins).forEach(([label, all], i) => {
    const members = all.map(({ id }) => byId.get(id)).filter((one) => one !== undefined);
    if (!members.length) return;
    const { epochs, mean, low, high, count } = meanAndBand(
      members.map(({ curve, line }) => ({ epochs: curve.epochs, values: line.y, n: curve.n })),
      shape.band,
    );
    const line: Line = {
      id: i,
      x: epochs,
      kx: shape.x === "step" ? commonSteps(all) : 1,
      ox: 0,
      y: mean,
      n: mean.length,
      rgb: colourOf(i, dark),
      count,
      members: all.length,
      marks: members.flatMap(({ line }) =>
        divergences(line).map(([at, y]): [number, number] => [xOf(line, at), y]),
      ),
    };
    result.lines.push(line);
    if (shape.band !== "none") result.bands.push({ line, low, high });
    result.labels.set(i, label);
  });
  return result;
}

/** What names an experiment to a person: its number and what was swept. */
export function describe(experiment: Experiment | undefined, write = formatValue): string {
  if (!experiment) return "";
  const swept = hyperparameterNames([experiment]).map(
    (name) => `${name}=${write(experiment.hyperparameters[name])}`,
  );
  const fold = experiment.fold === null ? [] : [`fold ${experiment.fold}`];
  return [`#${experiment.own}`, ...fold, ...(experiment.refit ? ["refit"] : []), ...swept].join(" · ");
}
