/** Curves that metrics recorded of an epoch, such as ROC, precision over recall and calibration. */

import { dark } from "./app";
import { Chart } from "./chart";
import { colourOf, css, type Rgb } from "./colours";
import type { Line } from "./raster";
import type { Shown } from "./records";

const DIAGONAL = -1; // stands where a line's number does
const isBetween = (value: number) => value >= 0 && value <= 1;
const lineOf = (id: number, points: number[][], rgb: Rgb): Line => ({
  id,
  x: points.map(([x]) => x!),
  kx: 1,
  ox: 0,
  y: points.map(([, y]) => y!),
  n: points.length,
  rgb,
  epochs: [],
});

/** Curves as a chart, which is zoomed, read and saved as others are. Their x may go any way. */
export function RecordedCurves({ lines, xName, yName, title }: Shown & { kind: "curve" }) {
  const made = lines.map((line, id): Line => {
    const points = line.x.map((at, k) => [at, line.y[k] ?? NaN]).filter((one) => one.every(Number.isFinite));
    return lineOf(id, points, colourOf(id, dark.value));
  });
  const isShare = made.every(({ x, y }) => [...(x as number[]), ...(y as number[])].every(isBetween));
  if (isShare && !/precision/.test(yName))
    made.push(
      lineOf(
        DIAGONAL,
        [
          [0, 0],
          [1, 1],
        ],
        [128, 132, 140],
      ),
    );
  const up = `↑ ${yName}`;
  return (
    <Chart
      title={title}
      syncKey={title}
      note={
        <>
          {up}
          {lines.length > 1 &&
            lines.map((line, i) => (
              <span class="key" key={String(i)}>
                <i style={{ background: css(colourOf(i, dark.value)) }} /> {line.label ?? i}
              </span>
            ))}
        </>
      }
      apart
      build={() => ({
        lines: made,
        bands: [],
        logx: false,
        logy: false,
        cut: false,
        note: up,
        xKind: `${xName} `, // a number, whatever its name
        zoom: null,
        chosen: new Set(),
        dark: dark.value,
        label: (id) => (id === DIAGONAL ? "the diagonal" : (lines[id]?.label ?? title)),
      })}
    />
  );
}
