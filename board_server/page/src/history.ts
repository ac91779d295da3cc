/** The best score so far, as experiments finish. */

import type { Scored } from "./canvas";

export interface Finished {
  one: Scored;
  /** How many have finished by then, itself included. */
  count: number;
  /** Since the run started. */
  seconds: number;
  /** The best of their finite scores; null as long as there is none. */
  best: number | null;
}

/** Those that have ended, in the order in which they did; of those that ended at once, the smaller id first. */
export function historyOf(
  scored: readonly Scored[],
  mode: "max" | "min",
  startedMs: number | null,
): Finished[] {
  const done = scored.filter(
    ({ experiment: { finished, status } }) => finished && !/INIT|RUNNING/.test(status),
  );
  done.sort(({ experiment: a }, { experiment: b }) => a.finished! - b.finished! || a.id - b.id);
  const start = startedMs ?? done[0]?.experiment.finished ?? 0;
  let best: number | null = null;
  return done.map((one, i) => {
    const { score } = one;
    if (score !== null && (best === null || (mode === "max" ? score > best : score < best))) best = score;
    return { one, count: i + 1, seconds: Math.max(0, (one.experiment.finished! - start) / 1000), best };
  });
}
