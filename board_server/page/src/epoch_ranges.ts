/** Which epochs an experiment was evaluated after: mostly one range, more where a log has holes. */

export type Ranges = [from: number, to: number][];

/** Take in an epoch, in place. Return whether it is new. */
export function addEpoch(ranges: Ranges, epoch: number): boolean {
  const at = ranges.findLastIndex(([from]) => from <= epoch);
  const [before, after] = [ranges[at], ranges[at + 1]];
  if (before && epoch <= before[1]) return false;
  const [joins, leads] = [before?.[1] === epoch - 1, after?.[0] === epoch + 1];
  if (joins && leads) {
    before![1] = after![1];
    ranges.splice(at + 1, 1);
  } else if (joins) before![1] = epoch;
  else if (leads) after![0] = epoch;
  else ranges.splice(at + 1, 0, [epoch, epoch]);
  return true;
}

/** The newest epoch; 0 before the first. */
export const lastEpoch = (ranges: Ranges): number => ranges.at(-1)?.[1] ?? 0;
