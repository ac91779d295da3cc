import { describe, expect, it } from "vitest";
import { formatDuration } from "../src/format";
import type { PlotModel } from "../src/plot_model";
import { xExtent, yExtent } from "../src/ranges";
import type { Line } from "../src/raster";

const line = (x: number[], y: number[]): Line => ({ id: 0, x, kx: 1, ox: 0, y, n: x.length, rgb: [0, 0, 0] });
const model = (lines: Line[], change: Partial<PlotModel> = {}): PlotModel => ({
  lines,
  bands: [],
  logx: false,
  logy: false,
  cut: false,
  xKind: "epoch",
  zoom: null,
  chosen: new Set(),
  dark: false,
  label: () => "",
  ...change,
});

describe("the range of y", () => {
  const spiked = model([line([1, 2, 3, 4, 5], [1000, 3, 2, 1, 500])]);
  it("is that of the points that a zoom shows, not of those beside it", () => {
    expect(yExtent(spiked, [2, 4])).toEqual([0.9, 3.1]);
    expect(yExtent(spiked, [1.5, 4.5])).toEqual([0.9, 3.1]);
  });
  it("of a zoom between two points is that of the line between them", () => {
    const [low, high] = yExtent(spiked, [3.2, 3.6]);
    expect(low).toBeLessThanOrEqual(1);
    expect(high).toBeGreaterThanOrEqual(2);
  });
  it("bears lines without points", () => {
    expect(yExtent(model([line([], [])]), [2, 4])).toEqual([0, 1]);
  });
});

describe("the range of x", () => {
  it("of a zoom that begins at 0 begins at the first point on a log axis", () => {
    const lines = [line([0, 2, 4, 8], [1, 1, 1, 1])];
    expect(xExtent(model(lines, { logx: true, zoom: [0, 5] }))).toEqual([2, 5]);
  });
});

describe("a duration", () => {
  it("is rounded as a whole", () => {
    expect(formatDuration(179_600)).toBe("3 min 00 s");
    expect(formatDuration(7_199_800)).toBe("2 h 00 min");
    expect(formatDuration(125_000)).toBe("2 min 05 s");
  });
});
