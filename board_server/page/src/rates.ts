/** How much was finished a second, over the wall time of a run. */

import type { Curve } from "./curve";

/** When the epochs of one experiment ended (unix milliseconds), and how much each of them is; 0: count epochs. */
export interface Finished {
  clock: Pick<Curve, "values" | "n">;
  amount: number;
}

const BINS = 240;

export function ends(finished: readonly Finished[]): [first: number, last: number] {
  let first = Infinity;
  let last = -Infinity;
  for (const { clock } of finished)
    for (let i = 0; i < clock.n; i++) {
      const ms = clock.values[i]!;
      if (ms < first) first = ms;
      if (ms > last) last = ms;
    }
  return [first, last];
}

/** Amounts a second in bins of at least a second (or a twentieth of a short run), at the middle of each bin. */
export function rates(finished: readonly Finished[], from: number, to: number): { x: number[]; y: number[] } {
  const width = Math.max(1, Math.min(1000, (to - from) / 20), (to - from) / BINS);
  const sums = new Array<number>(Math.floor((to - from) / width) + 1).fill(0);
  for (const { clock, amount } of finished)
    for (let i = 0; i < clock.n; i++) {
      const bin = Math.floor((clock.values[i]! - from) / width);
      if (bin >= 0 && bin < sums.length) sums[bin]! += amount || 1;
    }
  if (sums.length > 3) sums.pop(); // not over yet
  return { x: sums.map((_, i) => ((i + 0.5) * width) / 1000), y: sums.map((sum) => (sum * 1000) / width) };
}
