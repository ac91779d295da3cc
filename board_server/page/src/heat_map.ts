/** What two hyperparameters do together: the mean score of the experiments that have each pair of their values. */

import type { Scored } from "./canvas";
import { moments } from "./choose";
import { type Cell, cellOf, NONE } from "./filter";
import { apart, formatValue } from "./format";
import { backward, forward } from "./scaling";
import { MAX_BINS, ranks } from "./statistics";

export interface HeatCell {
  ids: number[];
  /** Of the finite scores; null: there is none. */
  mean: number | null;
  deviation: number | null;
  scored: number;
  /** 0 the worst mean of all cells, 1 the best, by rank. */
  share: number;
}

export interface HeatMap {
  columns: string[];
  rows: string[];
  /** By row, then column; null where no experiment is. */
  cells: (HeatCell | null)[][];
}

interface Parts {
  names: string[];
  of: (cell: Cell) => number;
}

/**
 * The columns of an axis: each value, or of more than eight numbers as many parts of equal width (of their logarithms,
 * where they span two decades). What has no value comes last.
 */
export function partsOf(cells: readonly Cell[], label: (cell: Cell) => string): Parts {
  const numbers = cells.filter((cell): cell is number => typeof cell === "number" && Number.isFinite(cell));
  const distinct = [
    ...new Set(cells.map((cell) => (isNumber(cell) ? cell : cell === null ? NONE : String(cell)))),
  ];
  const isNumeric = distinct.every((value) => typeof value === "number" || value === NONE);
  if (!isNumeric || new Set(numbers).size <= MAX_BINS) {
    distinct.sort((a, b) =>
      a === NONE || b === NONE
        ? Number(a === NONE) - Number(b === NONE)
        : typeof a === "number" && typeof b === "number"
          ? a - b
          : String(a).localeCompare(String(b), "en", { numeric: true }),
    );
    const at = new Map(distinct.map((value, i) => [value, i]));
    const names = distinct.map((value) =>
      value === NONE ? NONE : typeof value === "number" ? formatValue(value) : label(value),
    );
    return { names, of: (cell) => at.get(isNumber(cell) ? cell : cell === null ? NONE : String(cell))! };
  }
  const [low, high] = numbers.reduce(([a, b], n) => [Math.min(a, n), Math.max(b, n)], [Infinity, -Infinity]);
  const log = low > 0 && high / low >= 100;
  const ends = { log, min: low, max: high };
  const [f, back] = [forward(ends), backward(ends)];
  const edge = (i: number) =>
    i === 0 ? low : i === MAX_BINS ? high : back(f(low) + ((f(high) - f(low)) * i) / MAX_BINS);
  const texts = apart(
    Array.from({ length: MAX_BINS + 1 }, (_, i) => edge(i)),
    3,
  );
  const names = texts.slice(1).map((text, i) => `${texts[i]}..${text}`);
  if (distinct.includes(NONE)) names.push(NONE);
  return {
    names,
    of: (cell) =>
      isNumber(cell)
        ? Math.min(MAX_BINS - 1, Math.floor(((f(cell) - f(low)) / (f(high) - f(low))) * MAX_BINS))
        : MAX_BINS,
  };
}

const isNumber = (cell: Cell): cell is number => typeof cell === "number" && Number.isFinite(cell);

export function heatMap(
  scored: readonly Scored[],
  [x, y]: readonly [string, string],
  [xLabel, yLabel]: readonly [(cell: Cell) => string, (cell: Cell) => string],
  mode: "max" | "min",
): HeatMap {
  const cellsOf = (name: string) => scored.map(({ experiment }) => cellOf(experiment, name));
  const [xs, ys] = [cellsOf(x), cellsOf(y)];
  const [across, up] = [partsOf(xs, xLabel), partsOf(ys, yLabel)];
  const members: Scored[][][] = up.names.map(() => across.names.map(() => []));
  scored.forEach((one, i) => void members[up.of(ys[i]!)]![across.of(xs[i]!)]!.push(one));
  const cells = members.map((row) =>
    row.map((some): HeatCell | null => {
      if (!some.length) return null;
      const scores = some.flatMap(({ score }) => (score === null ? [] : [score]));
      const { mean, deviation } = scores.length ? moments(scores) : { mean: null, deviation: null };
      const ids = some.map(({ experiment }) => experiment.id);
      return { ids, mean, deviation, scored: scores.length, share: 0 };
    }),
  );
  const filled = cells.flat().filter((cell) => cell !== null && cell.mean !== null) as HeatCell[];
  const places = ranks(filled.map(({ mean }) => (mode === "max" ? mean! : -mean!)));
  filled.forEach((cell, i) => {
    cell.share = filled.length > 1 ? (places[i]! - 1) / (filled.length - 1) : 1;
  });
  return { columns: across.names, rows: up.names, cells };
}
