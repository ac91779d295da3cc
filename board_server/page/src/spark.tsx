/** A line of a few numbers, as high as a row of text. */

import { toPixel } from "./raster";

const [WIDTH, HEIGHT] = [84, 18];

/** Points of the line, the greatest number on top. */
export function sparkPoints(values: readonly number[]): string {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  return values
    .map((value, i) => {
      const x = values.length > 1 ? (i / (values.length - 1)) * (WIDTH - 4) + 2 : WIDTH / 2;
      const up = toPixel({ log: false, min, max, size: HEIGHT - 4 }, value);
      const y = max === min ? HEIGHT / 2 : HEIGHT - 2 - up;
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

export function Spark({ values, label }: { values: readonly number[]; label: string }) {
  if (!values.length) return null;
  const points = sparkPoints(values.length > 1 ? values : [values[0]!, values[0]!]);
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      role="img"
      aria-label={label}
    >
      <title>{label}</title>
      <polyline points={points} />
    </svg>
  );
}
