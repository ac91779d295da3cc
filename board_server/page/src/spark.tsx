/** A line of a few numbers, as high as a row of text. */

const [WIDTH, HEIGHT] = [84, 18];

/** Points of the line, the greatest number on top. */
export function sparkPoints(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const range = high - low || 1;
  return values
    .map((value, i) => {
      const x = values.length > 1 ? (i / (values.length - 1)) * (WIDTH - 4) + 2 : WIDTH / 2;
      const y = high === low ? HEIGHT / 2 : HEIGHT - 2 - ((value - low) / range) * (HEIGHT - 4);
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
