/** A config's components as a graph: what an experiment's data go through, from left to right. */

import { formatValue } from "./format";
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

const WIDTH = 198;
const GAP = 38;
const LINE = 16;

function linesOf(section: string, value: JsonObject): Line[] {
  return Object.entries(value)
    .filter(([name]) => name !== "component")
    .map(([name, inner]) => ({
      path: section ? `${section}.${name}` : name,
      text:
        isObject(inner) && typeof inner.component === "string"
          ? `${name}: ${inner.component}`
          : `${name} = ${formatValue(inner)}`,
    }));
}

/** Whether a value, or one inside of it, is swept. */
export function isSwept(path: string, swept: Readonly<Record<string, Json>>): boolean {
  return Object.keys(swept).some((name) => name === path || name.startsWith(`${path}.`));
}

export function layout(config: JsonObject): {
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
  const heights: number[] = [];
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
        x: column * (WIDTH + GAP),
        y,
        height,
      };
    });
  const edges = boxes.flatMap((to) =>
    needs(to.section).map((name): [Box, Box] => [boxes.find((box) => box.section === name)!, to]),
  );
  return { boxes, edges, width: heights.length * (WIDTH + GAP) - GAP, height: Math.max(0, ...heights) };
}

const cut = (text: string, length: number) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

export function Pipeline({ config, swept }: { config: JsonObject; swept: Readonly<Record<string, Json>> }) {
  const { boxes, edges, width, height } = layout(config);
  return (
    <div class="pipeline" tabIndex={0} role="group" aria-label="Pipeline">
      <svg
        width={width + 2}
        height={height}
        viewBox={`-1 -1 ${width + 2} ${height}`}
        aria-label="Components of this experiment and what each works on"
        role="img"
      >
        {edges.map(([from, to]) => {
          const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + 22, to.x, to.y + 22];
          const middle = (x1 + x2) / 2;
          return (
            <path
              key={`${from.section} ${to.section}`}
              class="edge"
              d={`M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`}
            />
          );
        })}
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
                {cut(line.text, 26)}
                <title>{line.text}</title>
              </text>
            ))}
          </g>
        ))}
      </svg>
    </div>
  );
}
