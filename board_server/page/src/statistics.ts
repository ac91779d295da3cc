/** What charts compute from curves: smoothing, best so far, mean and band, and how much a hyperparameter matters. */

/**
 * An exponential moving average, corrected for its start (as Adam's): weight 0 is the curve itself. NaN stays NaN.
 * A value stands for all epochs since the value before it, so that what was decimated is smoothed over as many epochs.
 */
export function smooth(
  values: ArrayLike<number>,
  epochs: ArrayLike<number>,
  n: number,
  weight: number,
): Float64Array {
  const out = new Float64Array(n);
  let average = 0;
  let past = 1;
  let before = NaN;
  for (let i = 0; i < n; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      out[i] = value;
      continue;
    }
    const distance = epochs[i]! - before;
    const kept = distance > 1 ? weight ** distance : weight;
    before = epochs[i]!;
    average = kept * average + (1 - kept) * value;
    past *= kept;
    out[i] = average / (1 - past);
  }
  return out;
}

/** The best value up to each point; NaN before the first finite one. */
export function bestSoFar(values: ArrayLike<number>, n: number, mode: "max" | "min"): Float64Array {
  const out = new Float64Array(n);
  let best = NaN;
  for (let i = 0; i < n; i++) {
    const value = values[i]!;
    if (Number.isFinite(value) && !(mode === "max" ? best >= value : best <= value)) best = value;
    out[i] = best;
  }
  return out;
}

export function groupBy<T, K>(values: readonly T[], keyOf: (value: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group) group.push(value);
    else groups.set(key, [value]);
  }
  return groups;
}

type Points = { epochs: ArrayLike<number>; values: ArrayLike<number>; n: number };

/**
 * What `make` makes of curves by arrays of all epochs from the first to the last; where few of these have points, as where
 * epochs are steps, the epochs are numbered first.
 */
function numbered<T extends { epochs: Float64Array }>(
  curves: readonly Points[],
  make: (curves: readonly Points[], first: number, size: number) => T,
): T {
  let [first, last, points] = [Infinity, -Infinity, 0];
  for (const { epochs, n } of curves)
    if (n) {
      first = Math.min(first, epochs[0]!);
      last = Math.max(last, epochs[n - 1]!);
      points += n;
    }
  const size = points ? last - first + 1 : 0;
  if (size <= 1000 + 4 * points) return make(curves, first, size);
  const seen = new Set<number>();
  for (const { epochs, n } of curves) for (let i = 0; i < n; i++) seen.add(epochs[i]!);
  const all = Float64Array.from(seen).sort();
  const at = new Map([...all].map((epoch, i) => [epoch, i]));
  const found = make(
    curves.map(({ epochs, values, n }) => ({
      epochs: Float64Array.from({ length: n }, (_, i) => at.get(epochs[i]!)!),
      values,
      n,
    })),
    0,
    all.length,
  );
  return { ...found, epochs: found.epochs.map((i) => all[i]!) };
}

export interface Band {
  epochs: Float64Array;
  mean: Float64Array;
  low: Float64Array;
  high: Float64Array;
  count: Uint32Array;
}

/**
 * Mean and band over the finite values of curves at each of their epochs; NaN where there is none, across which no line
 * may go on. `std`: one sample deviation; `quartiles`: the middle half of the values, which never leaves them.
 */
export function meanAndBand(curves: readonly Points[], band: "std" | "quartiles" | "range" | "none"): Band {
  return numbered(curves, (some, first, size) => dense(some, first, size, band));
}

function dense(curves: readonly Points[], first: number, size: number, band: string): Band {
  const seen = new Uint8Array(size);
  const count = new Uint32Array(size);
  const mean = new Float64Array(size);
  const squares = new Float64Array(size);
  const low = new Float64Array(size).fill(Infinity);
  const high = new Float64Array(size).fill(-Infinity);
  for (const { epochs, values, n } of curves)
    for (let i = 0; i < n; i++) {
      const value = values[i]!;
      const at = epochs[i]! - first;
      seen[at] = 1;
      if (!Number.isFinite(value)) continue;
      const delta = value - mean[at]!;
      count[at]!++;
      // Welford: no difference of large squares; what overflows is divided before.
      mean[at]! += Number.isFinite(delta) ? delta / count[at]! : value / count[at]! - mean[at]! / count[at]!;
      squares[at]! += delta * (value - mean[at]!);
      if (value < low[at]!) low[at] = value;
      if (value > high[at]!) high[at] = value;
    }
  if (band === "quartiles") quartiles(curves, first, count, low, high);
  let kept = 0;
  const epochs = new Float64Array(size);
  for (let at = 0; at < size; at++) {
    if (!seen[at]) continue;
    if (!count[at]) mean[at] = low[at] = high[at] = NaN;
    const deviation = count[at]! > 1 ? Math.sqrt(squares[at]! / (count[at]! - 1)) : 0;
    epochs[kept] = first + at;
    const isOrder = band === "range" || band === "quartiles";
    low[kept] = isOrder ? low[at]! : band === "std" ? mean[at]! - deviation : mean[at]!;
    high[kept] = isOrder ? high[at]! : band === "std" ? mean[at]! + deviation : mean[at]!;
    mean[kept] = mean[at]!;
    count[kept] = count[at]!;
    kept++;
  }
  return {
    epochs: epochs.subarray(0, kept),
    mean: mean.subarray(0, kept),
    low: low.subarray(0, kept),
    high: high.subarray(0, kept),
    count: count.subarray(0, kept),
  };
}

/** The first and third quartile of the finite values at each epoch, between two values as far as their place says. */
function quartiles(
  curves: readonly Points[],
  first: number,
  count: Uint32Array,
  low: Float64Array,
  high: Float64Array,
): void {
  const starts = new Uint32Array(count.length + 1); // of each epoch's values, one epoch's behind the other's
  for (let at = 0; at < count.length; at++) starts[at + 1] = starts[at]! + count[at]!;
  const filled = starts.slice();
  const all = new Float64Array(starts.at(-1)!);
  for (const { epochs, values, n } of curves)
    for (let i = 0; i < n; i++) {
      const value = values[i]!;
      if (Number.isFinite(value)) all[filled[epochs[i]! - first]!++] = value;
    }
  for (let at = 0; at < count.length; at++) {
    const sorted = all.subarray(starts[at], starts[at + 1]).sort();
    const quantile = (share: number) => {
      const place = share * (sorted.length - 1);
      const below = Math.floor(place);
      const next = sorted[Math.min(below + 1, sorted.length - 1)]!;
      const [between, gap] = [place - below, next - sorted[below]!];
      return gap < Infinity
        ? sorted[below]! + between * gap
        : sorted[below]! * (1 - between) + next * between;
    };
    if (sorted.length) [low[at], high[at]] = [quantile(0.25), quantile(0.75)];
  }
}

/** Average ranks from 1, ties shared. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const out = new Array<number>(values.length);
  for (let i = 0; i < order.length; ) {
    let end = i;
    while (end + 1 < order.length && values[order[end + 1]!] === values[order[i]!]) end++;
    for (let k = i; k <= end; k++) out[order[k]!] = (i + end) / 2 + 1;
    i = end + 1;
  }
  return out;
}

/** Spearman's rank correlation; NaN where one side is constant. */
export function rankCorrelation(x: readonly number[], y: readonly number[]): number {
  const [a, b] = [ranks(x), ranks(y)];
  const middle = (x.length + 1) / 2;
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [da, db] = [a[i]! - middle, b[i]! - middle];
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return ab / Math.sqrt(aa * bb);
}

export const MAX_BINS = 8;

/**
 * Put values into at most so many bins of about equal count, if there are more than eight numbers; equal values share a
 * bin, words and what has no value are bins of their own.
 */
export function bins(
  values: readonly (number | string | null)[],
  most = MAX_BINS,
): (number | string | null)[] {
  const numbers = values.filter((value): value is number => typeof value === "number");
  if (new Set(numbers).size <= MAX_BINS || values.some((value) => typeof value === "string"))
    return [...values];
  const ranked = ranks(numbers);
  let i = 0;
  return values.map((value) =>
    value === null ? null : Math.min(most - 1, Math.floor(((ranked[i++]! - 0.5) / numbers.length) * most)),
  );
}

/**
 * The share of the variance of the scores' ranks that the (binned) value explains, corrected for the number of bins
 * (epsilon squared, the adjusted form of eta squared), so that a value that means nothing gets about 0 and not more the
 * more values there are. Ranks, because one diverged experiment must not decide. NaN where there is too little to say.
 */
export function varianceExplained(
  values: readonly (number | string | null)[],
  scores: readonly number[],
): number {
  const groups = new Map<number | string | null, number[]>();
  const ranked = ranks(scores);
  bins(values).forEach((bin, i) => {
    const group = groups.get(bin);
    if (group) group.push(ranked[i]!);
    else groups.set(bin, [ranked[i]!]);
  });
  const n = scores.length;
  const k = groups.size;
  if (k < 2 || n <= k) return NaN;
  const middle = (n + 1) / 2;
  let total = 0;
  let within = 0;
  for (const group of groups.values()) {
    const mean = group.reduce((sum, rank) => sum + rank, 0) / group.length;
    for (const rank of group) {
      total += (rank - middle) ** 2;
      within += (rank - mean) ** 2;
    }
  }
  return total ? Math.max(0, 1 - within / (n - k) / (total / (n - 1))) : NaN;
}

/** The smallest and largest finite value of curves within a range of epochs; null if there is none. */
export function extent(
  values: ArrayLike<number>,
  from: number,
  to: number,
  positive: boolean,
  into: [number, number],
): void {
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    if (value - value !== 0 || (positive && value <= 0)) continue; // not finite, or not on a log scale
    if (value < into[0]) into[0] = value;
    if (value > into[1]) into[1] = value;
  }
}

/** The best value of several curves up to each of their epochs; NaN before the first finite one. */
export function bestOfAll(
  curves: readonly Points[],
  mode: "max" | "min",
): { epochs: Float64Array; values: Float64Array } {
  return numbered(curves, (some, first, size) => {
    const seen = new Uint8Array(size);
    const best = new Float64Array(size).fill(NaN);
    for (const { epochs, values, n } of some)
      for (let i = 0; i < n; i++) {
        const [value, at] = [values[i]!, epochs[i]! - first];
        seen[at] = 1;
        if (Number.isFinite(value) && !(mode === "max" ? best[at]! >= value : best[at]! <= value))
          best[at] = value;
      }
    const running = bestSoFar(best, size, mode);
    const kept = Array.from(seen.keys()).filter((at) => seen[at]);
    return {
      epochs: Float64Array.from(kept, (at) => first + at),
      values: Float64Array.from(kept, (at) => running[at]!),
    };
  });
}
