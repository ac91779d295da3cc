/** The state of a run's views as typed values: one flat set of parameters that all tabs of a run share. */

import { formatIds, type Params, parseIds } from "./address";

/** What x is: a score, too, whose name has its split before a slash. */
export type X = "epoch" | "step" | "time" | `${string}/${string}`;

/** As many runs as the board takes in one question. */
export const MOST_COMPARED = 50;

export interface ViewState {
  q: string; // text or /regular expression/ over experiments
  columns: Readonly<Record<string, string>>; // filters by column
  sort: string; // a column; with "-" in front: descending
  show: readonly string[] | null; // chosen columns; null: the usual ones
  pick: readonly number[]; // chosen experiments
  scores: string; // regular expression over score names
  x: X;
  logx: boolean;
  logy: boolean;
  symlog: boolean; // y is a logarithm on both sides of 0, whatever logy says
  smooth: number; // weight of the past, 0 to 0.999
  best: "" | "max" | "min" | "auto"; // best so far
  group: string; // the hyperparameter to average by
  bins: number; // of numbers: into so many groups; 0: one for each value
  colour: string; // "rank", or the hyperparameter that lines are coloured by
  hide: readonly number[]; // experiments whose lines are not drawn
  hideGroups: readonly string[]; // likewise means, by their names
  pin: readonly string[]; // scores whose charts come first
  band: "std" | "quartiles" | "range" | "none";
  zoom: readonly [number, number] | null;
  ranges: Readonly<Record<string, readonly [number, number]>>; // parts of y that charts show, by score
  outliers: "" | "cut" | "all"; // what lies far outside: left out where it stretches y, wherever there is such, never
  wide: string; // the score whose chart is large
  by: string; // the score that pages rank by
  mode: "" | "max" | "min";
  at: "best" | "last";
  mapX: string; // what stands on the axes of the map: hyperparameters or scores
  mapY: string;
  history: "count" | "time"; // the best so far after so many experiments, or seconds
  rule: string;
  follow: boolean; // open the next run that appears
  compare: "" | "chosen"; // what the selection compares: the rule's, or the chosen ones
  runs: readonly string[]; // those that are ticked in the list, or compared, the first with each of the others
  each: "mean" | "best"; // of each run that is compared: its best candidate's mean, or its best experiment
}

export const DEFAULTS: ViewState = {
  q: "",
  columns: {},
  sort: "experiment_id",
  show: null,
  pick: [],
  scores: "",
  x: "epoch",
  logx: false,
  logy: false,
  symlog: false,
  smooth: 0,
  best: "",
  group: "",
  bins: 5,
  colour: "",
  hide: [],
  hideGroups: [],
  pin: [],
  band: "std",
  zoom: null,
  ranges: {},
  outliers: "",
  wide: "",
  by: "",
  mode: "",
  at: "best",
  mapX: "",
  mapY: "",
  history: "count",
  rule: "",
  follow: false,
  compare: "",
  runs: [],
  each: "mean",
};

const CHOICES: Partial<Record<keyof ViewState, readonly string[]>> = {
  x: ["epoch", "step", "time"],
  best: ["", "max", "min", "auto"],
  band: ["std", "quartiles", "range", "none"],
  outliers: ["", "cut", "all"],
  mode: ["", "max", "min"],
  at: ["best", "last"],
  compare: ["", "chosen"],
  each: ["mean", "best"],
  history: ["count", "time"],
};

// The parts that are true or false, ids of experiments, and lists of names.
const FLAGS = ["logx", "logy", "symlog", "follow"] as const;
const IDS = ["pick", "hide"] as const;
const NAMES = ["show", "hideGroups", "pin", "runs"] as const;
const isOneOf = <T extends string>(keys: readonly T[], key: string): key is T => keys.includes(key as T);

/** `0.5..2`, the lesser end first; null for what is no range. */
export function readRange(text: string): [number, number] | null {
  const [from, to, ...more] = text.split("..").map((end) => (end.trim() ? Number(end) : NaN));
  const fits = !more.length && Number.isFinite(from) && Number.isFinite(to) && from! < to!;
  return fits ? [from!, to!] : null;
}

/** Texts by names that may be those of what all objects have, such as `constructor`. */
export const byName = (entries: readonly (readonly [string, string])[]): Record<string, string> =>
  Object.assign(Object.create(null), Object.fromEntries(entries));

/** Read parameters; `foreign` names those that do not fit and were passed over. */
export function readView(params: Params): { view: ViewState; foreign: string[] } {
  const ranges: Record<string, [number, number]> = {};
  const view = { ...DEFAULTS, columns: byName([]), ranges };
  const foreign: string[] = [];
  for (const [key, text] of Object.entries(params)) {
    if (key.startsWith("c.")) view.columns[key.slice(2)] = text;
    else if (isOneOf(NAMES, key)) view[key] = text.split(",").map(unescapeComma).filter(Boolean);
    else if (isOneOf(IDS, key)) view[key] = parseIds(text);
    else if (isOneOf(FLAGS, key)) view[key] = text === "1";
    else if (key === "bins") {
      if (/^(0|[2-9]|1[0-2])$/.test(text)) view.bins = Number(text);
      else foreign.push(key);
    } else if (key === "x" && text.includes("/")) view.x = text as X;
    else if (key === "smooth") {
      const weight = Number(text);
      if (weight >= 0 && weight < 1) view.smooth = weight;
      else foreign.push(key);
    } else if (key === "zoom") {
      view.zoom = readRange(text);
      if (!view.zoom) foreign.push(key);
    } else if (key.startsWith("y.")) {
      const range = readRange(text);
      if (range) ranges[key.slice(2)] = range;
      else foreign.push(key);
    } else if (Object.hasOwn(CHOICES, key)) {
      if (CHOICES[key as keyof ViewState]!.includes(text)) (view as Record<string, unknown>)[key] = text;
      else foreign.push(key);
    } else if (key !== "columns" && key !== "ranges" && Object.hasOwn(DEFAULTS, key))
      (view as Record<string, unknown>)[key] = text;
    else foreign.push(key);
  }
  return { view, foreign };
}

/** Write the values that differ from the usual ones. */
export function writeView(view: ViewState): Params {
  const params: Record<string, string> = {};
  for (const key of Object.keys(DEFAULTS) as (keyof ViewState)[]) {
    const value = view[key];
    if (key === "columns") {
      for (const [column, text] of Object.entries(view.columns)) if (text) params[`c.${column}`] = text;
    } else if (key === "ranges") {
      for (const [score, range] of Object.entries(view.ranges)) params[`y.${score}`] = range.join("..");
    } else if (value === null || value === DEFAULTS[key]) continue;
    else if (isOneOf(NAMES, key)) params[key] = view[key]!.map(escapeComma).join(",");
    else if (isOneOf(IDS, key)) params[key] = formatIds(view[key]);
    else if (key === "zoom") params[key] = view.zoom!.join("..");
    else params[key] = typeof value === "boolean" ? "1" : String(value);
  }
  for (const key of Object.keys(params)) if (params[key] === "") delete params[key];
  return params;
}

// Names of columns come from configs and may hold a comma.
const escapeComma = (name: string) => name.replace(/[%,]/g, (sign) => (sign === "," ? "%2C" : "%25"));
const unescapeComma = (name: string) => name.replace(/%2C/g, ",").replace(/%25/g, "%");

export const ANALYSIS_FORMAT = "mlgym_jax.analysis";

export interface Analysis {
  format: typeof ANALYSIS_FORMAT;
  version: 1;
  grid_search_id: string;
  config_hash: string | null;
  view: string;
  params: Params;
  exported_ms: number;
}

/** Check a file that claims to be an exported analysis, or say in one sentence why it is none. */
export function readAnalysis(text: string): Analysis {
  let data: Partial<Analysis>;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON; open one that “Export analysis” wrote.");
  }
  if (typeof data !== "object" || data === null || data.format !== ANALYSIS_FORMAT)
    throw new Error(
      `This file has not the format “${ANALYSIS_FORMAT}”; open one that “Export analysis” wrote.`,
    );
  if (data.version !== 1)
    throw new Error(`This analysis has version ${String(data.version)}; this page reads version 1.`);
  const strings = Object.values(data.params ?? { "": null }).every((value) => typeof value === "string");
  if (typeof data.grid_search_id !== "string" || typeof data.view !== "string" || !strings)
    throw new Error("This analysis is damaged: grid_search_id, view and params are needed.");
  return data as Analysis;
}
