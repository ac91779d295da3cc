/** The values of one hyperparameter, each as short as tells it from the others: what an ellipsis cuts must not matter. */

import { type Cell, NONE, toCell } from "./filter";
import { exactValue, formatValue } from "./format";
import { isObject, type Json, type JsonObject } from "./json";
import type { Experiment } from "./run_state";

export type Label = (value: Json | undefined) => string;

const LONG = 24; // characters from which a text is cut in the middle

const isComponent = (value: Json): value is JsonObject =>
  isObject(value) && typeof value.component === "string";

/** A long text without its middle. */
function cut(text: string): string {
  const short = text.length > LONG ? `${text.slice(0, LONG / 2 - 1)}…${text.slice(1 - LONG / 2)}` : text;
  return short.replace(/\p{Cs}/gu, ""); // halves of a sign
}

/** A component with those of its parameters alone in which the others of its name differ. */
function brief(value: JsonObject, others: readonly JsonObject[]): string {
  const same = others.filter((one) => one.component === value.component);
  const differs = (name: string) =>
    new Set(same.map((one) => JSON.stringify(Object.hasOwn(one, name) ? one[name] : null))).size > 1;
  const names = Object.keys(value).filter((name) => name === "component" || differs(name));
  return formatValue(Object.fromEntries(names.map((name) => [name, value[name]!])));
}

/** What writes each of `values` so; another value is written in full. */
export function labelsOf(values: Iterable<Json | undefined>): Label {
  const distinct = new Map<string, Json>();
  for (const value of values) if (value !== undefined) distinct.set(JSON.stringify(value), value);
  const components = [...distinct.values()].filter(isComponent);
  const texts = [...distinct].map(([key, value]): [string, string] => [
    key,
    isComponent(value) ? brief(value, components) : formatValue(value) || '""',
  ]);
  // What all long texts begin with does not tell them apart.
  const long = texts.map(([, text]) => text).filter((text) => text.length > LONG);
  const shared = long.length > 1 ? prefix(long) : 0;
  const shortened = texts.map(([key, text]): [string, string] => [
    key,
    cut(text.length > LONG && shared > LONG / 2 ? `…${text.slice(shared)}` : text),
  ]);
  const ways = [
    shortened,
    texts,
    [...distinct].map(([key, value]): [string, string] => [key, exactValue(value)]),
  ];
  const labels = new Map<string, string>();
  for (const way of ways) {
    const counts = new Map<string, number>();
    for (const [, text] of way) counts.set(text, (counts.get(text) ?? 0) + 1);
    for (const [key, text] of way) if (!labels.has(key) && counts.get(text) === 1) labels.set(key, text);
  }
  return (value) => (value === undefined ? "" : (labels.get(JSON.stringify(value)) ?? exactValue(value)));
}

function prefix(texts: readonly string[]): number {
  const first = texts[0]!;
  let n = 0;
  while (n < first.length && texts.every((text) => text[n] === first[n])) n++;
  return n;
}

const known = new WeakMap<Map<number, Experiment>, { size: number; of: Map<string, Label> }>();

/** The labels of a hyperparameter's values over all experiments of a run. */
export function labelOf(experiments: Map<number, Experiment>, name: string): Label {
  let kept = known.get(experiments);
  if (!kept || kept.size !== experiments.size) {
    kept = { size: experiments.size, of: new Map() };
    known.set(experiments, kept);
  }
  let label = kept.of.get(name);
  if (!label) {
    label = labelsOf([...experiments.values()].map((one) => one.hyperparameters[name]));
    kept.of.set(name, label);
  }
  return label;
}

/** The same for cells. */
export function cellLabelOf(experiments: Map<number, Experiment>, name: string): (cell: Cell) => string {
  const label = labelOf(experiments, name);
  const texts = new Map<Cell, string>();
  for (const { hyperparameters } of experiments.values())
    if (Object.hasOwn(hyperparameters, name))
      texts.set(toCell(hyperparameters[name]), label(hyperparameters[name]));
  return (cell) => (cell === null ? NONE : (texts.get(cell) ?? String(cell)));
}
