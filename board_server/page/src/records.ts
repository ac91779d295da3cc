/** What metrics record besides scores, as the log's events say it: read, and put together by what one looks at. */

import { isObject, type Json, type JsonObject, member, toNumber } from "./json";
import { orderScores } from "./score_order";
import type { LogEvent } from "./wire";

export interface CurveLine {
  label: string | null;
  x: number[];
  y: number[];
}

/** Rows are shares of 1, so that classes of few examples are seen; a row of nothing stays so. */
export const shares = (row: readonly number[]): number[] => {
  const total = row.reduce((sum, value) => sum + Math.max(value, 0), 0);
  return row.map((value) => (total > 0 && value > 0 ? value / total : 0));
};

export type Shown =
  | { kind: "curve"; title: string; xName: string; yName: string; lines: CurveLine[] }
  | {
      kind: "matrix";
      title: string;
      xName: string;
      yName: string;
      values: number[][];
      classes: string[] | null;
    }
  | { kind: "histogram"; title: string; counts: number[]; edges: number[] }
  | { kind: "image"; title: string; file: string; width: number; height: number }
  | { kind: "table"; title: string; columns: [string, Json[]][] }
  | { kind: "text"; title: string; text: string };

const words = (value: Json | undefined, otherwise = "") => (typeof value === "string" ? value : otherwise);
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
const numbers = (value: Json | undefined) => list(value).map(toNumber);
const count = (value: Json | undefined) => (typeof value === "number" && value > 0 ? value : 0);

function curvesOf(payload: JsonObject, into: Map<string, Shown>): void {
  const data = payload.dataset;
  const of = isObject(data) ? `, of ${words(data.path, words(data.component, "other data"))}` : "";
  const begun = new Set<string>(); // a curve that comes again replaces all lines of the old one
  for (const one of list(payload.curves)) {
    if (!isObject(one)) continue;
    const title = `${words(one.split)}/${words(one.metric)}${of}`;
    const [xName, yName] = [words(one.x_name, "x"), words(one.y_name, "y")];
    if (one.kind === "matrix") {
      const classes = Array.isArray(one.classes) ? one.classes.map(String) : null;
      into.set(title, {
        kind: "matrix",
        title,
        xName,
        yName,
        values: list(one.values).map(numbers),
        classes,
      });
      continue;
    }
    const line = { label: words(one.label) || null, x: numbers(one.x), y: numbers(one.y) };
    const known = into.get(title);
    if (begun.has(title) && known?.kind === "curve") known.lines.push(line);
    else into.set(title, { kind: "curve", title, xName, yName, lines: [line] });
    begun.add(title);
  }
}

function recordOf(payload: JsonObject): Shown | null {
  const title = `${words(payload.split)}/${words(payload.name)}`;
  switch (payload.kind) {
    case "histogram":
      return { kind: "histogram", title, counts: numbers(payload.counts), edges: numbers(payload.edges) };
    case "image":
      return {
        kind: "image",
        title,
        file: words(payload.file),
        width: count(payload.width),
        height: count(payload.height),
      };
    case "table":
      return {
        kind: "table",
        title,
        columns: Object.entries(isObject(payload.columns) ? payload.columns : {}).map(([name, column]) => [
          name,
          list(column),
        ]),
      };
    case "text":
      return { kind: "text", title, text: words(payload.text) };
    default:
      return null; // of a newer writer
  }
}

/** What is to be seen of an epoch, by titles; of what was recorded again, the newer. */
export function shownOf(events: readonly LogEvent[]): Shown[] {
  const found = new Map<string, Shown>();
  for (const { event_type: type, payload } of events) {
    if (!isObject(payload)) continue;
    if (type === "evaluation_curves") curvesOf(payload, found);
    else {
      const one = recordOf(payload);
      if (one) found.set(one.title, one);
    }
  }
  return orderScores([...found.keys()]).map((title) => found.get(title)!);
}

/** One series of the machine's samples. */
export interface Series {
  title: string;
  unit: "bytes" | "share" | "number";
  lines: { label: string; y: number[] }[];
}

/** Series of what samples say; what none of them says is left out. `x`: seconds since the first. */
export function machineOf(samples: readonly LogEvent[]): { x: number[]; series: Series[] } {
  const first = samples[0]?.creation_ts ?? 0;
  const x = samples.map(({ creation_ts: now }) => (now - first) / 1000);
  const of = (name: string) => samples.map(({ payload }) => numberAt(payload, name));
  const gpus = new Map<string, { name: string; places: (JsonObject | null)[] }>();
  samples.forEach(({ payload }, i) => {
    for (const one of list(member(payload, "gpus"))) {
      if (!isObject(one)) continue;
      const key = String(one.index);
      const gpu = gpus.get(key) ?? { name: words(one.name), places: samples.map(() => null) };
      gpu.places[i] = one;
      gpus.set(key, gpu);
    }
  });
  const ofGpus = (name: string) =>
    [...gpus].map(([key, gpu]) => ({
      label: `GPU ${key} ${gpu.name}`,
      y: gpu.places.map((one) => numberAt(one, name)),
    }));
  const all: Series[] = [
    {
      title: "processor cores busy",
      unit: "number",
      lines: [
        { label: "this run", y: of("process_cores") },
        { label: "the machine", y: of("machine_busy") },
      ],
    },
    {
      title: "memory",
      unit: "bytes",
      lines: [
        { label: "this run", y: of("process_bytes") },
        { label: "available", y: of("memory_available") },
      ],
    },
    { title: "free disk", unit: "bytes", lines: [{ label: "free", y: of("disk_free") }] },
    { title: "GPU utilisation", unit: "share", lines: ofGpus("utilisation") },
    { title: "GPU memory", unit: "bytes", lines: ofGpus("memory_used") },
    { title: "GPU power (W)", unit: "number", lines: ofGpus("watts") },
    { title: "GPU temperature (°C)", unit: "number", lines: ofGpus("celsius") },
  ];
  const says = ({ y }: { y: number[] }) => y.some(Number.isFinite);
  const series = all
    .map((one) => ({ ...one, lines: one.lines.filter(says) }))
    .filter(({ lines }) => lines.length);
  return { x, series };
}

function numberAt(payload: Json | undefined, name: string): number {
  const value = member(payload, name);
  return typeof value === "number" ? value : NaN;
}
