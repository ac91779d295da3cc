/** By what the lines of experiments are coloured, and the key that says it. */

import { colourOf, coloursOf, type Rgb, sequentialColour } from "./colours";
import { type Cell, cellOf, NONE } from "./filter";
import { ordinal } from "./format";
import { cellLabelOf } from "./labels";
import type { Experiment, Run } from "./run_state";
import { scaleOf, spread } from "./scales";
import { ranks } from "./statistics";

export interface ColourKey {
  title: string;
  /** Of numbers and ranks: the colour of a share of 0 to 1, and what stands at some shares. */
  ramp: ((share: number) => Rgb) | null;
  ticks: readonly [share: number, text: string][];
  /** Of words: what each colour stands for. */
  entries: readonly [text: string, rgb: Rgb][];
}

export interface Colouring {
  rgbOf: (id: number) => Rgb;
  /** Null: each experiment has a colour of its own. */
  key: ColourKey | null;
}

export interface ColourBy {
  /** Empty: by the experiment; `rank`: by its best score; else by a hyperparameter. */
  colour: string;
  pick: readonly number[];
  score: string;
  mode: "max" | "min";
  dark: boolean;
}

const grey = (dark: boolean): Rgb => (dark ? [128, 134, 144] : [150, 156, 166]);

/** What has no value, or none to compare, is grey. */
export function colouringOf(run: Run, experiments: readonly Experiment[], by: ColourBy): Colouring {
  const { colour, dark } = by;
  if (!colour) {
    const placeOf = coloursOf(
      experiments.map(({ id }) => id),
      by.pick,
    );
    return { rgbOf: (id) => colourOf(placeOf(id), dark), key: null };
  }
  const ramp = (share: number) => sequentialColour(share, dark);
  const rgbs = new Map<number, Rgb>();
  const rgbOf = (id: number) => rgbs.get(id) ?? grey(dark);
  if (colour === "rank") {
    const shares = rankShares(experiments, by);
    for (const [id, share] of shares) rgbs.set(id, ramp(share));
    const ticks: [number, string][] = [
      [0, shares.size > 1 ? ordinal(shares.size) : ""],
      [1, "1st"],
    ];
    return {
      rgbOf,
      key: {
        title: `rank by best ${by.score} (${by.mode})`,
        ramp,
        ticks: shares.size ? ticks : [],
        entries: [],
      },
    };
  }
  const cells = new Map(experiments.map((one) => [one.id, cellOf(one, colour)]));
  const numbers = [...cells.values()].filter((cell) => typeof cell === "number" && Number.isFinite(cell));
  if (numbers.length && ![...cells.values()].some((cell) => typeof cell === "string")) {
    const { note, place, ticks } = scaleOf(numbers);
    for (const [id, cell] of cells)
      if (typeof cell === "number" && Number.isFinite(cell)) rgbs.set(id, ramp(place(cell)));
    return { rgbOf, key: { title: note ? `${colour}, ${note}` : colour, ramp, ticks, entries: [] } };
  }
  const label = cellLabelOf(run.experiments, colour);
  const kinds = [...new Set(cells.values())].filter((cell): cell is string => cell !== null);
  kinds.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const rgbOfKind = new Map<Cell, Rgb>(kinds.map((kind, i) => [kind, colourOf(i, dark)]));
  for (const [id, cell] of cells) if (cell !== null) rgbs.set(id, rgbOfKind.get(cell)!);
  const entries = kinds.map((kind): [string, Rgb] => [label(kind), rgbOfKind.get(kind)!]);
  if (kinds.length < new Set(cells.values()).size) entries.push([NONE, grey(dark)]);
  return { rgbOf, key: { title: colour, ramp: null, ticks: [], entries } };
}

/** Of each experiment with a finite best score its rank as a share: 1 the best, 0 the worst; refits have none. */
function rankShares(experiments: readonly Experiment[], { score, mode }: ColourBy): Map<number, number> {
  const scored = experiments.flatMap(({ best, id, refit }) => {
    const value = best[score]?.[mode]?.[1];
    return refit || value === undefined || !Number.isFinite(value) ? [] : [{ id, value }];
  });
  const sign = mode === "max" ? 1 : -1;
  const places = ranks(scored.map(({ value }) => sign * value));
  const last = scored.length - 1;
  return new Map(scored.map(({ id }, i) => [id, last ? (places[i]! - 1) / last : 1]));
}

/** The ticks of a key that do not lie over each other on so many pixels. */
export const keyTicks = ({ ticks }: ColourKey, length: number) =>
  spread(ticks, length, (text) => text.length * 6.5 + 8);
