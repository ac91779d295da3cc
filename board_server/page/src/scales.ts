/** Where values stand on an axis, and the filter for a part of it. */

import type { Cell } from "./filter";
import { formatNumber } from "./format";

export interface Scale {
  place: (cell: Cell) => number; // 0 to 1; NaN for a value that has no place
  /** The condition of a filter for what lies between two places; empty for everything. */
  between: (low: number, high: number) => string;
  ticks: [number, string][];
  note: string;
}

const NONE = "(none)";

/** Numbers on a line (logarithmic when they span two decades), anything else side by side. */
export function scaleOf(values: readonly Cell[]): Scale {
  const numbers = values.filter(
    (value): value is number => typeof value === "number" && Number.isFinite(value),
  );
  if (numbers.length && values.every((value) => typeof value === "number" || value === null)) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of numbers) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const log = low > 0 && high / low >= 100;
    const f = log ? Math.log : (x: number) => x;
    const width = f(high) - f(low);
    const place = (value: Cell) =>
      typeof value !== "number" || !Number.isFinite(value) ? NaN : width ? (f(value) - f(low)) / width : 0.5;
    const middle = log ? Math.sqrt(low * high) : (low + high) / 2;
    // As many digits as tell values of this axis apart.
    const size = Math.log10(Math.max(Math.abs(low), Math.abs(high)) / width);
    const digits = log || !Number.isFinite(size) ? 4 : Math.max(4, Math.min(15, Math.ceil(size) + 4));
    const at = (share: number) => {
      const value = f(low) + share * width;
      return Number((log ? Math.exp(value) : value).toPrecision(digits));
    };
    const between = (from: number, to: number) =>
      from <= 0 && to >= 1
        ? ""
        : from <= 0
          ? `<=${at(to)}`
          : to >= 1
            ? `>=${at(from)}`
            : `${at(from)}..${at(to)}`;
    const ticks = [...new Set(numbers)].length <= 6 ? [...new Set(numbers)] : [low, middle, high];
    return {
      place,
      between,
      ticks: ticks.map((value) => [place(value), formatNumber(value, 3)]),
      note: log ? "log" : "",
    };
  }
  const nameOf = (value: Cell) => (value === null ? NONE : String(value));
  const names = [...new Set(values.map(nameOf))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const at = new Map(names.map((name, i) => [name, names.length > 1 ? i / (names.length - 1) : 0.5]));
  return {
    place: (value) => at.get(nameOf(value)) ?? NaN,
    between: (low, high) => {
      const inside = names.filter((name) => at.get(name)! >= low && at.get(name)! <= high);
      const escaped = inside.map((name) =>
        name === NONE ? "" : name.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"),
      );
      return inside.length && inside.length < names.length ? `/^(${escaped.join("|")})$/` : "";
    },
    ticks: names.slice(0, 12).map((name) => [at.get(name)!, name]),
    note: "",
  };
}
