/** Where an axis has its numbers, and how they are written. */

import { formatDuration, formatTick } from "./format";
import { type Axis, toPixel } from "./raster";
import { finite } from "./scaling";

/** What an axis counts: `count` knows whole numbers only, `time` is in seconds. */
export type Kind = "number" | "count" | "time";

const ROUND = [1, 2, 5, 10];
const SECONDS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
];

/** The smallest round step of which at most `count` fit into a width: 1, 2 or 5 times a power of ten; clock times. */
export function roundStep(width: number, count: number, kind: Kind): number {
  const wanted = width / Math.max(1, count);
  if (kind === "time" && wanted > 1) {
    const step = SECONDS.find((seconds) => seconds >= wanted);
    return step ?? 86_400 * roundStep(width / 86_400, count, "count");
  }
  const power = 10 ** Math.floor(Math.log10(wanted)) || Number.MIN_VALUE;
  const step = Math.min(1e308, power * ROUND.find((round) => power * round >= wanted * (1 - 1e-9))!);
  return kind === "count" ? Math.max(1, step) : step;
}

function linear(axis: Axis, count: number, kind: Kind): number[] {
  const step = roundStep(axis.max / count - axis.min / count, 1, kind);
  const [first, last] = [Math.ceil(axis.min / step - 1e-9), Math.floor(axis.max / step + 1e-9)];
  const found: number[] = [];
  for (let k = first; k <= last && found.length <= 1000; k++) found.push(k * step);
  return found;
}

const DIGITS = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]];

/** Powers of ten with as many numbers between as there is room for; on a small part of a decade, round steps. */
function logarithmic(axis: Axis, space: number, kind: Kind): number[] {
  const [low, high] = [Math.log10(axis.min), Math.log10(axis.max)];
  const decade = axis.size / (high - low);
  const digits = DIGITS.find((some) => Math.log10(10 / some.at(-1)!) * decade >= space * 0.75) ?? [1];
  const every = digits.length > 1 ? 1 : Math.ceil((space * 0.75) / decade);
  const found: number[] = [];
  for (let power = Math.ceil(Math.floor(low) / every) * every; power <= high; power += every)
    for (const digit of digits) found.push(digit * 10 ** power);
  const inside = found.filter(
    (value) => value >= axis.min * (1 - 1e-9) && value <= finite(axis.max * (1 + 1e-9)),
  );
  if (inside.length >= 3 || high - low > 1.5) return inside;
  return linear(axis, (2 * axis.size) / space, kind).filter((value) => value > 0);
}

/**
 * 0, powers of ten on both sides of it, and between them their twofold and fivefold, as far as there is room; where that
 * leaves few, round steps.
 */
function symmetric(axis: Axis, space: number, kind: Kind): number[] {
  const most = finite(Math.max(Math.abs(axis.min), Math.abs(axis.max)) * (1 + 1e-9));
  const powers: number[] = [];
  for (let k = Math.round(Math.log10(axis.linear!)); Number(`1e${k}`) <= most; k++) powers.push(k);
  const kept: number[] = [];
  const keep = (value: number) => {
    const at = toPixel(axis, value);
    const isFree = kept.every((other) => Math.abs(toPixel(axis, other) - at) >= space * 0.75);
    if (isFree && value >= axis.min && value <= axis.max) kept.push(value);
  };
  keep(0);
  for (const digit of [1, 5, 2])
    for (const k of powers) for (const sign of [1, -1]) keep(sign * Number(`${digit}e${k}`));
  if (kept.length < 3) for (const value of linear(axis, (2 * axis.size) / space, kind)) keep(value);
  return kept.sort((a, b) => a - b);
}

export interface Tick {
  value: number;
  text: string;
}

/** The numbers of an axis, `space` pixels for each. */
export function ticks(axis: Axis, space: number, kind: Kind): Tick[] {
  if (!(axis.max > axis.min && Number.isFinite(axis.max) && Number.isFinite(axis.min))) return [];
  const values = axis.log
    ? logarithmic(axis, space, kind)
    : axis.linear
      ? symmetric(axis, space, kind)
      : linear(axis, Math.max(2, axis.size / space), kind);
  const gap = values.length < 2 ? 0 : values[1]! - values[0]!;
  const step = values.every((value, i) => !i || Math.abs(value - values[i - 1]! - gap) < gap * 1e-3)
    ? gap
    : 0;
  return values.map((value) => ({ value, text: tickText(value, step, kind) }));
}

/** A number that can be told from its neighbours, `step` away; 0: they are no equal steps. */
function tickText(value: number, step: number, kind: Kind): string {
  const size = Math.abs(value);
  const decimals = step ? Math.ceil(-Math.log10(step) - 1e-9) : 0;
  if (kind === "time") {
    if (step && (step < 1 || size < 120)) return `${size.toFixed(Math.max(0, decimals))} s`;
    const seconds = step && step < 60 && size >= 7200 ? ` ${Math.round(size % 60)} s` : "";
    return formatDuration(value * 1000) + seconds;
  }
  if (size <= step * 1e-6) return "0";
  if (decimals > 0 && decimals <= 10 && size < 1e5 && size >= 1e-3) return value.toFixed(decimals);
  return formatTick(value, Math.max(4, Math.floor(Math.log10(size)) + 1 + decimals));
}
