/** What came from the board, second by second. */

import type { Numbered } from "./wire";

const KEPT = 600; // seconds

export interface Pulse {
  second: number;
  events: number;
  bytes: number;
  delay: number;
  examplesPerSecond: number[];
}

/**
 * Add what came just now.
 * @param numExamples Training examples an epoch of each experiment.
 * @param replayed Whether it happened before; then its age is no delay.
 */
export function addPulse(
  pulses: Pulse[],
  numExamples: ReadonlyMap<number, number>,
  events: Numbered[],
  bytes: number,
  replayed: boolean,
): void {
  if (!events.length) return;
  const second = Math.floor(Date.now() / 1000);
  let pulse = pulses.at(-1);
  if (pulse?.second !== second) {
    pulse = { second, events: 0, bytes: 0, delay: 0, examplesPerSecond: [] };
    pulses.push(pulse);
    if (pulses.length > KEPT) pulses.shift();
  }
  pulse.events += events.length;
  pulse.bytes += bytes;
  if (!replayed) pulse.delay = Math.max(pulse.delay, Date.now() - events.at(-1)!.data.creation_ts);
  for (const { data } of events) {
    const seconds = data.event_type === "evaluation_result" ? Number(data.payload?.seconds) : 0;
    const examples = seconds > 0 ? numExamples.get(Number(data.payload.experiment_id)) : 0;
    if (examples) pulse.examplesPerSecond.push(examples / seconds);
  }
}
