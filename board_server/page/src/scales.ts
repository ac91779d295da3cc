/** Where values stand on an axis, and the filter for a part of it. */

import { type Cell, NONE } from "./filter";
import { apart } from "./format";
import { backward, forward } from "./scaling";
import { type Kind, ticks } from "./ticks";

export interface Scale {
  place: (cell: Cell) => number; // 0 to 1
  /** The condition of a filter for what lies between two places; empty for everything. */
  between: (low: number, high: number) => string;
  ticks: [number, string][];
  note: string;
}

const GAP = 0.14; // between the place of what has no value and the smallest number

const finite = (value: Cell): value is number => typeof value === "number" && Number.isFinite(value);

/**
 * Numbers on a line (logarithmic when they span two decades), anything else side by side. What has no value, or one that is
 * not finite, has its own place: at the bottom of numbers, and among words. `label` writes words.
 */
export function scaleOf(values: readonly Cell[], label: (cell: Cell) => string = String): Scale {
  const numbers = values.filter(finite);
  if (!numbers.length || values.some((value) => typeof value === "string")) return words(values, label);
  let [low, high] = [Infinity, -Infinity];
  for (const value of numbers) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const bottom = numbers.length < values.length ? GAP : 0;
  const log = low > 0 && high / low >= 100;
  const ends = { log, min: low, max: high };
  const [f, back] = [forward(ends), backward(ends)];
  const width = f(high) - f(low);
  const place = (value: Cell) =>
    finite(value) ? bottom + (1 - bottom) * (width ? (f(value) - f(low)) / width : 0.5) : 0;
  const middle = log ? Math.sqrt(low) * Math.sqrt(high) : low / 2 + high / 2;
  // As many digits as tell values of this axis apart.
  const size = Math.log10(Math.max(Math.abs(f(low)), Math.abs(f(high))) / width);
  const digits = log || !Number.isFinite(size) ? 4 : Math.max(4, Math.min(15, Math.ceil(size) + 4));
  const at = (share: number) => {
    const value = f(low) + ((share - bottom) / (1 - bottom)) * width;
    return Number(back(value).toPrecision(digits));
  };
  const between = (from: number, to: number) => {
    const withNone = bottom > 0 && from <= 0;
    if (from <= 0 && to >= 1) return "";
    if (withNone && to < bottom) return NONE;
    const begins = from <= bottom; // with the smallest number
    const range = begins && to >= 1 ? `>=${low}` : begins ? `<=${at(to)}` : to >= 1 ? `>=${at(from)}` : "";
    return (withNone ? `${NONE}, ` : "") + (range || `${at(from)}..${at(to)}`);
  };
  const distinct = [...new Set(numbers)].sort((a, b) => a - b);
  const shown = distinct.length <= 6 ? distinct : [low, high, Number(middle.toPrecision(digits))];
  const texts = apart(shown, Math.max(6, digits));
  const marks = shown.map((value, i): [number, string] => [place(value), texts[i]!]);
  if (bottom) marks.push([0, NONE]);
  return { place, between, ticks: marks, note: log ? "log" : "" };
}

/** Numbers at even distances, whatever they are. */
export function evenScale(min: number, max: number, kind: Kind): Scale {
  const width = max - min || 1;
  const place = (value: Cell) => (finite(value) ? (value - min) / width : 0);
  const marks = ticks({ min, max: min + width, size: 600, log: false }, 100, kind);
  return {
    place,
    between: () => "",
    ticks: marks.map(({ value, text }) => [place(value), text]),
    note: "",
  };
}

function words(values: readonly Cell[], label: (cell: Cell) => string): Scale {
  const textOf = (value: Cell) => (value === null ? NONE : String(value));
  const shown = new Map(values.map((value) => [textOf(value), value === null ? NONE : label(value)]));
  const names = [...shown.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const at = new Map(names.map((name, i) => [name, names.length > 1 ? i / (names.length - 1) : 0.5]));
  return {
    place: (value) => at.get(textOf(value)) ?? 0,
    between: (low, high) => {
      const inside = names.filter((name) => at.get(name)! >= low && at.get(name)! <= high);
      const escaped = inside.map((name) => name.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
      return inside.length && inside.length < names.length ? `/^(${escaped.join("|")})$/` : "";
    },
    ticks: names.map((name) => [at.get(name)!, shown.get(name)!]),
    note: "",
  };
}

/**
 * Those ticks that do not lie over each other, `sizeOf` pixels each on an axis of `length` pixels: the ends first, then
 * as they come.
 */
export function spread(
  ticks: readonly [number, string][],
  length: number,
  sizeOf: (text: string) => number,
): [number, string][] {
  const byPlace = [...ticks].sort(([a], [b]) => a - b);
  const ends = byPlace.length > 1 ? [byPlace[0]!, byPlace.at(-1)!] : [];
  const kept: [number, string][] = [];
  for (const tick of [...ends, ...ticks.filter((one) => !ends.includes(one as [number, string]))]) {
    const size = sizeOf(tick[1]);
    const isFree = kept.every(
      ([place, text]) => Math.abs(place - tick[0]) * length >= (size + sizeOf(text)) / 2,
    );
    if (isFree) kept.push(tick as [number, string]);
  }
  return kept;
}
