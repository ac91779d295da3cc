/** A config's components as a graph: what an experiment's data go through, from left to right. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { exactValue, formatValue } from "./format";
import { isObject, type Json, type JsonObject } from "./json";

/** Which sections a section works on. Not in the config itself: it is how the engine puts components together. */
const NEEDS: Record<string, readonly string[]> = {
  dataset: [],
  validation: ["dataset"],
  encoding: ["validation"],
  sampler: ["encoding", "validation"],
  loader: ["sampler", "encoding", "validation", "dataset"],
  model: ["loader"],
  warm_start: [],
  loss: ["model"],
  metrics: ["model"],
  optimizer: ["loss"],
  averaging: ["optimizer"],
  early_stopping: ["metrics", "loss"],
  checkpointing: ["metrics", "loss"],
  search: [],
};

interface Line {
  path: string;
  text: string;
  /** With all digits. */
  exact: string;
}

interface Box {
  section: string;
  component: string;
  lines: Line[];
  column: number;
  x: number;
  y: number;
  height: number;
}

const WIDTH = 178;
const GAP = 20;
const LINE = 16;
const BELOW = 20; // a row of columns

function linesOf(section: string, value: JsonObject): Line[] {
  const written = (name: string, inner: Json, write: (value: Json) => string) =>
    isObject(inner) && typeof inner.component === "string"
      ? `${name}: ${inner.component}`
      : `${name} = ${write(inner)}`;
  return Object.entries(value)
    .filter(([name]) => name !== "component")
    .map(([name, inner]) => ({
      path: section ? `${section}.${name}` : name,
      text: written(name, inner, formatValue),
      exact: written(name, inner, exactValue),
    }));
}

/** Whether a value, or one inside of it, is swept. */
export function isSwept(path: string, swept: Readonly<Record<string, Json>>): boolean {
  return Object.keys(swept).some((name) => name === path || name.startsWith(`${path}.`));
}

/** `across`: so many columns stand side by side, those behind them in a row below. */
export function layout(
  config: JsonObject,
  across = Number.POSITIVE_INFINITY,
): {
  boxes: Box[];
  edges: [Box, Box][];
  width: number;
  height: number;
} {
  const isSection = (entry: [string, Json]): entry is [string, JsonObject] => isObject(entry[1]);
  const entries = Object.entries(config);
  const sections = entries.filter(isSection);
  const present = new Set(sections.map(([name]) => name));
  // Of several ways to get the data only the nearest is an edge.
  const needs = (name: string): string[] => {
    const found = (NEEDS[name] ?? []).filter((need) => present.has(need));
    return name === "loader" || name === "sampler" ? found.slice(0, 1) : found;
  };
  const depth = (name: string): number => Math.max(-1, ...needs(name).map(depth)) + 1;
  const heights: number[] = []; // of each column
  const rest = Object.fromEntries(entries.filter((entry) => !isSection(entry) && entry[1] !== null));
  const boxes = [...sections, ["", rest] as const]
    .filter(([section, value]) => section || Object.keys(value).length)
    .map(([section, value]) => ({ section, value, column: depth(section) }))
    .sort((a, b) => a.column - b.column)
    .map(({ section, value, column }): Box => {
      const lines = linesOf(section, value);
      const component = typeof value.component === "string" ? value.component : "";
      const height = (component ? 46 : 30) + lines.length * LINE;
      const y = heights[column] ?? 0;
      heights[column] = y + height + 16;
      return {
        section,
        component,
        lines,
        column,
        x: (column % across) * (WIDTH + GAP),
        y,
        height,
      };
    });
  const rows: number[] = [];
  heights.forEach((height, column) => {
    const row = Math.floor(column / across);
    rows[row] = Math.max(rows[row] ?? 0, height + BELOW);
  });
  const top = (column: number) =>
    rows.slice(0, Math.floor(column / across)).reduce((sum, height) => sum + height, 0);
  for (const box of boxes) box.y += top(box.column);
  const edges = boxes.flatMap((to) =>
    needs(to.section).map((name): [Box, Box] => [boxes.find((box) => box.section === name)!, to]),
  );
  const width = Math.max(0, Math.min(heights.length, across) * (WIDTH + GAP) - GAP);
  return { boxes, edges, width, height: rows.reduce((sum, height) => sum + height, 0) };
}

/** Without its middle: what a value is stands at the end. */
const cut = (text: string, length: number) =>
  text.length > length ? `${text.slice(0, (length - 1) >> 1)}…${text.slice(1 - (length >> 1))}` : text;

/** The way from a box to one beside it, or to one in a row below. */
function edge(from: Box, to: Box): string {
  const isBeside = to.x > from.x;
  const [x1, y1] = isBeside ? [from.x + WIDTH, from.y + 22] : [from.x + WIDTH / 2, from.y + from.height];
  const [x2, y2] = isBeside ? [to.x, to.y + 22] : [to.x + WIDTH / 2, to.y];
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  return isBeside
    ? `M${x1} ${y1}C${x} ${y1} ${x} ${y2} ${x2} ${y2}`
    : `M${x1} ${y1}C${x1} ${y} ${x2} ${y} ${x2} ${y2}`;
}

export function Pipeline({ config, swept }: { config: JsonObject; swept: Readonly<Record<string, Json>> }) {
  const host = useRef<HTMLDivElement>(null);
  const [space, setSpace] = useState(0);
  useLayoutEffect(() => {
    const sized = new ResizeObserver(() => setSpace(host.current!.clientWidth - 30));
    sized.observe(host.current!);
    return () => sized.disconnect();
  }, []);
  const across = Math.max(1, Math.floor((space + GAP) / (WIDTH + GAP)));
  const { boxes, edges, width, height } = layout(config, across);
  return (
    <div class="pipeline" tabIndex={0} role="group" aria-label="Pipeline" ref={host}>
      <svg
        width={width + 2}
        height={height}
        viewBox={`-1 -1 ${width + 2} ${height}`}
        aria-label="Components of this experiment and what each works on"
        role="img"
      >
        {edges.map(([from, to]) => (
          <path key={`${from.section} ${to.section}`} class="edge" d={edge(from, to)} />
        ))}
        {boxes.map((box) => (
          <g key={box.section} transform={`translate(${box.x} ${box.y})`}>
            <rect width={WIDTH} height={box.height} rx="7" />
            <text class="section" x="12" y="18">
              {box.section || "run"}
            </text>
            <text
              class={`component ${isSwept(`${box.section}.component`, swept) || box.section in swept ? "swept" : ""}`}
              x="12"
              y="34"
            >
              {cut(box.component, 22)}
            </text>
            {box.lines.map((line, i) => (
              <text
                key={line.path}
                x="12"
                y={(box.component ? 54 : 38) + i * LINE}
                class={isSwept(line.path, swept) ? "swept" : ""}
              >
                {cut(line.text, 25)}
                <title>{line.exact}</title>
              </text>
            ))}
          </g>
        ))}
      </svg>
    </div>
  );
}
