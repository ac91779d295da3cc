/** How much was finished a second of training, over a run: pauses between its launches count for nothing. */

import type { Curve } from "./curve";

/** What an experiment did: when its epochs ended (unix ms), the seconds trained until then, and how much an epoch is. */
export interface Done {
  times: Pick<Curve, "epochs" | "values" | "n">;
  seconds: Pick<Curve, "values"> | undefined;
  amount: number;
}

/** One epoch of a group: when it ended (unix ms), how many milliseconds it took, and how much it is. */
export interface Work {
  end: number;
  ms: number;
  amount: number;
}

const MIN_BINS = 20;
const MAX_BINS = 240;

/**
 * The epochs of a group that began at `start` (unix ms). A result says its experiment's share of an epoch, so the shares
 * of all are the epoch. Where they are not told, an epoch lasts from the end of the one before it.
 */
export function worksOf(group: readonly Done[], start: number): Work[] {
  const works: Work[] = []; // by epoch
  for (const { times, seconds, amount } of group)
    for (let i = 0; i < times.n; i++) {
      works[times.epochs[i]!] ??= { end: 0, ms: 0, amount: 0 };
      const work = works[times.epochs[i]!]!;
      work.end = Math.max(work.end, times.values[i]!);
      work.ms += seconds ? (seconds.values[i]! - (i && seconds.values[i - 1]!)) * 1000 : NaN;
      work.amount += amount;
    }
  const found = Object.values(works); // without the holes
  found.forEach((work, i) => {
    const before = i ? found[i - 1]!.end : start;
    const ms = Number.isFinite(work.ms) ? work.ms : work.end - before;
    work.ms = Math.max(0, Math.min(ms, work.end - start));
  });
  return found;
}

/** Amounts a second in bins of at least a second (or a twentieth of a short run), at the middle of each bin. */
export function rates(works: readonly Work[]): { x: number[]; y: number[]; seconds: number } {
  const begun = works.map((work) => ({ ...work, at: work.end - work.ms })).sort((a, b) => a.at - b.at);
  let idle = begun[0]?.at ?? 0;
  let until = idle;
  for (const work of begun) {
    if (work.at > until) idle += work.at - until;
    until = Math.max(until, work.end);
    work.at -= idle;
  }
  const total = until - idle;
  const bins = Math.max(MIN_BINS, Math.min(MAX_BINS, Math.floor(total / 1000)));
  const width = total / bins;
  const sums = new Array<number>(bins).fill(0);
  if (total > 0)
    for (const { at, ms, amount } of begun) {
      const last = Math.min(bins - 1, Math.floor((at + ms) / width));
      for (let bin = Math.min(last, Math.floor(at / width)); bin <= last; bin++) {
        const part = Math.min(at + ms, (bin + 1) * width) - Math.max(at, bin * width);
        sums[bin]! += ms ? (amount * part) / ms : amount;
      }
    }
  return {
    x: sums.map((_, bin) => ((bin + 0.5) * width) / 1000),
    y: sums.map((sum) => (sum * 1000) / width || 0),
    seconds: total / 1000,
  };
}
