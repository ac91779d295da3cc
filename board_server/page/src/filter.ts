/** Which experiments a view shows: a text or /regular expression/ over all cells, and one condition a column. */

import { lastEpoch } from "./epoch_ranges";
import { formatMoment, formatTime, formatValue } from "./format";
import { isLong, isObject, type Json } from "./json";
import type { Experiment } from "./run_state";

export type Cell = string | number | null;
export type Checked<T> = { ok: true; value: T } | { ok: false; error: string; at?: number; length?: number };
export type Test = (cell: Cell) => boolean;

const FIELDS: Record<string, (experiment: Experiment) => Cell> = {
  experiment_id: (e) => e.own,
  status: (e) => e.status,
  model_status: (e) => (e.status === "RUNNING" ? (e.progress?.status ?? null) : e.stopReason),
  epoch: epochOf,
  batch: (e) => e.progress?.current_batch ?? null,
  split: (e) => e.progress?.current_split ?? null,
  device: (e) => e.device,
  started: (e) => e.started,
  finished: (e) => e.finished,
  fold: (e) => e.fold,
  round: (e) => e.round,
  refit: (e) => (e.refit ? "yes" : "no"),
  error: (e) => e.error,
  checkpoint: (e) => (e.checkpoint < 0 ? null : e.checkpoint),
};

/** Progress is reported at most four times a second, results always: the later of the two. */
export function epochOf(experiment: Experiment): number {
  return Math.max(lastEpoch(experiment.epochRanges), experiment.progress?.current_epoch ?? 0);
}

/** What is compared and averaged: all but refits, of which nothing was held out. */
export function candidates(experiments: Iterable<Experiment>): Experiment[] {
  return [...experiments].filter((experiment) => !experiment.refit);
}

export const FIELD_NAMES = Object.keys(FIELDS);

export function toCell(value: Json | undefined): Cell {
  if (value === null || value === undefined) return null;
  if (typeof value === "number" || typeof value === "string") return value;
  return JSON.stringify(value);
}

/** Which way a score is better. */
export type ModeOf = (score: string) => "max" | "min";
const GREATEST: ModeOf = () => "max";

/** The value of a column: a field, a hyperparameter, a score (its last value), or `best <score>`. */
export function cellOf(experiment: Experiment, column: string, modeOf: ModeOf = GREATEST): Cell {
  if (Object.hasOwn(FIELDS, column)) return FIELDS[column]!(experiment);
  if (Object.hasOwn(experiment.hyperparameters, column)) return toCell(experiment.hyperparameters[column]);
  const score = column.replace(/^best /, "");
  if (column === score) return Object.hasOwn(experiment.last, score) ? experiment.last[score]! : null;
  return Object.hasOwn(experiment.best, score) ? (experiment.best[score]![modeOf(score)]?.[1] ?? null) : null;
}

/** Whether no experiment has such a column, though those of scores may only not have come yet. */
export function isForeign(column: string, experiments: readonly Experiment[]): boolean {
  if (!experiments.length || Object.hasOwn(FIELDS, column)) return false;
  const score = column.replace(/^best /, "");
  const has = (e: Experiment) =>
    Object.hasOwn(e.hyperparameters, column) || Object.hasOwn(e.best, score) || Object.hasOwn(e.last, score);
  return !experiments.some(has) && (!score.includes("/") || experiments.some((e) => e.epochs > 0));
}

/** What stands on axes and in groups where there is no value. */
export const NONE = "(none)";
const NONE_WORDS = ["", NONE, "none", "null"];

const shownTexts = new Map<string, string[]>();

/** All texts by which a cell is found: as it is kept, and as it is shown. */
export function textsOf(cell: Cell): string[] {
  if (cell === null) return NONE_WORDS;
  const exact = String(cell);
  if (typeof cell === "number") return [exact, formatValue(cell)];
  if (!/^[[{]/.test(exact)) return [exact];
  let texts = shownTexts.get(exact);
  if (!texts) {
    texts = [exact];
    try {
      const value: Json = JSON.parse(exact);
      texts.push(formatValue(value), formatValue(value).replace(/,\s*/g, ", "));
      if (isObject(value) && typeof value.component === "string") texts.push(value.component);
    } catch {
      // a text that only begins so
    }
    shownTexts.set(exact, texts);
  }
  return texts;
}

/** Whether a text, as `parseText` or `parseRegex` read it, is found in a cell; what has no value is found by its words alone. */
export function occursIn(found: (haystack: string) => boolean, text: string, cell: Cell): boolean {
  if (cell !== null) return textsOf(cell).some(found);
  if (/^\/|[\\^$|]/.test(text)) return found("") || (/none|null/i.test(text) && NONE_WORDS.some(found));
  return NONE_WORDS.includes(text.trim().toLowerCase());
}

/** Read `text` as words that must all occur, or as `/a regular expression/`. */
export function parseText(text: string): Checked<(haystack: string) => boolean> {
  const trimmed = text.trim();
  if (trimmed.startsWith("/")) {
    const end = trimmed.lastIndexOf("/");
    const [body, flags] = end > 0 ? [trimmed.slice(1, end), trimmed.slice(end + 1)] : [trimmed.slice(1), "i"];
    return parseRegex(body, flags);
  }
  const words = trimmed.toLowerCase().split(/\s+/).filter(Boolean);
  return { ok: true, value: (haystack) => words.every((word) => haystack.toLowerCase().includes(word)) };
}

export function parseRegex(body: string, flags = "i"): Checked<(haystack: string) => boolean> {
  try {
    const pattern = new RegExp(body, flags.replace(/[gy]/g, ""));
    return { ok: true, value: (haystack) => pattern.test(haystack) };
  } catch (error) {
    return { ok: false, error: (error as Error).message.replace(/^Invalid regular expression: /, "") };
  }
}

type Numeric = number | bigint;
/** An integer beyond 2^53 is a word (`json.ts`), and compared with all its digits. */
export const isNumber = (cell: Cell) => typeof cell === "number" || isLong(cell);
export const numberOf = (cell: Cell): Numeric => (isLong(cell) ? BigInt(cell!) : Number(cell));

export const COMPARE: Record<string, (a: Numeric, b: Numeric) => boolean> = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

const NUMBER = "[-+]?(?:\\d|\\.\\d)[-+.\\deE]*";
const ONE_OF = new RegExp(
  `^(?:${NUMBER}|(?:<=|>=|<|>)\\s*${NUMBER}|${NUMBER}\\.\\.${NUMBER}|\\(?none\\)?|null)$`,
  "i",
);

/**
 * Read a column's condition: `<0.01`, `1e-4..1e-2`, `=DONE`, `!=DONE`, `none`, `/regex/`, a text that occurs, or several
 * that concern numbers or `none`, of which one must hold: `1, 3`, `none, <0.01`.
 */
export function parseCondition(text: string): Checked<Test> {
  const trimmed = text.trim();
  const compared = /^(<=|>=|<|>)\s*(.*)$/.exec(trimmed);
  if (compared) {
    const limit = numberOf(compared[2]!);
    if (compared[2] === "" || Number.isNaN(limit))
      return { ok: false, error: `after ${compared[1]} a number is needed` };
    const compare = COMPARE[compared[1]!]!;
    return { ok: true, value: (cell) => isNumber(cell) && compare(numberOf(cell), limit) };
  }
  const range = /^([-+.\deE]+)\.\.([-+.\deE]+)$/.exec(trimmed);
  if (range) {
    const [low, high] = [numberOf(range[1]!), numberOf(range[2]!)];
    if (Number.isNaN(low) || Number.isNaN(high)) return { ok: false, error: "a range is written 0.1..0.5" };
    const isIn = (value: Numeric) => value >= low && value <= high;
    return { ok: true, value: (cell) => isNumber(cell) && isIn(numberOf(cell)) };
  }
  const equal = /^(!?=)\s*(.*)$/.exec(trimmed);
  if (equal) {
    const wanted = equal[2]!;
    return { ok: true, value: (cell) => sameCell(cell, wanted) === (equal[1] === "=") };
  }
  const parts = trimmed.split(",").map((part) => part.trim());
  if (parts.length > 1 && parts.every((part) => ONE_OF.test(part))) {
    const tests = parts.map((part) => parseCondition(part));
    const wrong = tests.find((test) => !test.ok);
    return wrong ?? { ok: true, value: (cell) => tests.some((test) => test.ok && test.value(cell)) };
  }
  const found = parseText(trimmed);
  if (trimmed && !Number.isNaN(Number(trimmed)) && found.ok)
    return {
      ok: true,
      value: (cell) => (isNumber(cell) ? sameCell(cell, trimmed) : occursIn(found.value, trimmed, cell)),
    };
  return found.ok ? { ok: true, value: (cell) => occursIn(found.value, trimmed, cell) } : found;
}

/** Read a date, a date and time, or a time of today, all local; NaN for anything else. */
function momentOf(text: string): number {
  const time = /^\d\d?:\d\d(:\d\d)?$/.test(text)
    ? `${formatMoment(Date.now()).slice(0, 10)} ${text.padStart(5, "0")}`
    : text;
  const parts = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d)?))?$/.exec(time);
  return parts ? new Date(`${parts[1]}T${parts[2] ?? "00:00"}`).getTime() : NaN;
}

/** Read a condition of `started` or `finished`: they are seen as texts, and compared as times. */
function parseTimeFilter(text: string): Checked<Test> {
  const trimmed = text.trim();
  const compared = /^(<=|>=|<|>)\s*(.*)$/.exec(trimmed);
  const range = /^(.+?)\s*\.\.\s*(.+)$/.exec(trimmed);
  if (compared || range) {
    const [low, high] = compared ? [momentOf(compared[2]!), 0] : [momentOf(range![1]!), momentOf(range![2]!)];
    if (Number.isNaN(low + high))
      return { ok: false, error: "a time is written 2026-01-31, 2026-01-31 14:05 or 14:05" };
    const fits = compared
      ? (ms: number) => COMPARE[compared[1]!]!(ms, low)
      : (ms: number) => ms >= low && ms <= high;
    return { ok: true, value: (cell) => typeof cell === "number" && fits(cell) };
  }
  const seen = parseCondition(trimmed);
  if (!seen.ok) return seen;
  const all = trimmed.startsWith("!=");
  return {
    ok: true,
    value: (cell) => {
      if (typeof cell !== "number") return seen.value(cell);
      const full = formatMoment(cell);
      const found = [formatTime(cell), full, full.slice(-8)].map(seen.value); // whichever a table shows
      return all ? !found.includes(false) : found.includes(true);
    },
  };
}

/** Read the condition of one column. */
export function parseFilter(column: string, text: string): Checked<Test> {
  return column === "started" || column === "finished" ? parseTimeFilter(text) : parseCondition(text);
}

export function sameCell(cell: Cell, wanted: string): boolean {
  if (typeof cell === "number" && wanted !== "" && cell === Number(wanted)) return true;
  return textsOf(cell).some((text) => text.toLowerCase() === wanted.toLowerCase());
}

/** All that the text filter looks at. */
export function haystack(experiment: Experiment): string {
  const { hyperparameters: swept } = experiment;
  const values = Object.keys(swept).map((name) => {
    return [...new Set(textsOf(toCell(swept[name])))].map((text) => `${name}=${text}`).join(" ");
  });
  const fields = [
    experiment.refit && "refit",
    experiment.status,
    experiment.stopReason,
    experiment.device,
    experiment.error,
  ].filter(Boolean);
  return [`#${experiment.own}`, ...fields, ...values].join(" ");
}

export function filterExperiments(
  experiments: Iterable<Experiment>,
  q: string,
  columns: Readonly<Record<string, string>>,
  modeOf = GREATEST,
): Experiment[] {
  const words = q ? parseText(q) : null;
  const tests: [string, Test][] = [];
  for (const [column, text] of Object.entries(columns)) {
    const condition = text ? parseFilter(column, text) : null;
    if (condition?.ok) tests.push([column, condition.value]); // one that cannot be read hides nothing
  }
  const kept: Experiment[] = [];
  for (const experiment of experiments) {
    if (words?.ok && !words.value(haystack(experiment))) continue;
    if (tests.every(([column, test]) => test(cellOf(experiment, column, modeOf)))) kept.push(experiment);
  }
  return kept;
}

/** Order by a column, `-column` downwards; what has no value (or NaN) comes last either way. */
export function sortExperiments(experiments: Experiment[], sort: string, modeOf = GREATEST): Experiment[] {
  const down = sort.startsWith("-");
  const column = down ? sort.slice(1) : sort;
  const keyed = experiments.map((experiment) => ({
    experiment,
    cell: column === "experiment_id" ? experiment.id : cellOf(experiment, column, modeOf),
  }));
  const missing = (cell: Cell) => cell === null || Number.isNaN(cell);
  keyed.sort((a, b) => {
    if (missing(a.cell) || missing(b.cell))
      return Number(missing(a.cell)) - Number(missing(b.cell)) || a.experiment.id - b.experiment.id;
    let order: number;
    if (isNumber(a.cell) && isNumber(b.cell)) {
      const [x, y] = [numberOf(a.cell), numberOf(b.cell)];
      order = Number(x > y) - Number(x < y);
    } else order = String(a.cell).localeCompare(String(b.cell), "en", { numeric: true });
    return (down ? -order : order) || a.experiment.id - b.experiment.id;
  });
  return keyed.map(({ experiment }) => experiment);
}

/** The names of swept hyperparameters, in the order of the first experiments that have them. */
export function hyperparameterNames(experiments: Iterable<Experiment>): string[] {
  const names = new Set<string>();
  for (const experiment of experiments) for (const name in experiment.hyperparameters) names.add(name);
  return [...names];
}
