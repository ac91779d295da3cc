import { describe, expect, it } from "vitest";
import { partsOf } from "../src/heat_map";
import type { PlotModel } from "../src/plot_model";
import { xExtent, yExtent } from "../src/ranges";
import { type Axis, type Line, spans, toPixel, toValue, trace } from "../src/raster";
import { scaleOf } from "../src/scales";
import { sparkPoints } from "../src/spark";
import { meanAndBand } from "../src/statistics";
import { ticks } from "../src/ticks";

// The distance of these is no number.
const MOST = 1.5 * 2 ** 1023;
const line = (y: number[]): Line => ({
  id: 0,
  x: y.map((_, i) => i),
  kx: 1,
  ox: 0,
  y,
  n: y.length,
  rgb: [255, 0, 0],
});
const model = (lines: Line[]) =>
  ({ lines, bands: [], cut: "auto", logx: false, logy: false }) as unknown as PlotModel;
const axis = (min: number, max: number, size: number): Axis => ({ min, max, size, log: false });

describe("values whose distance is beyond all numbers", () => {
  it("are within the range of their chart, which has numbers on both sides of 0", () => {
    const [low, high] = yExtent(model([line([-MOST, 0, MOST])]), [0, 2]);
    expect([low, high].every(Number.isFinite)).toBe(true);
    expect(low).toBeLessThanOrEqual(-MOST);
    expect(high).toBeGreaterThanOrEqual(MOST);
    expect(ticks(axis(low, high, 200), 40, "number").map(({ text }) => text)).toEqual([
      "-1e308",
      "0",
      "1e308",
    ]);
  });
  it("have numbers on logarithmic axes, too", () => {
    const most = Number.MAX_VALUE;
    const symmetric = ticks({ min: -most, max: most, size: 200, log: false, linear: 1 }, 40, "number");
    expect(symmetric.map(({ value }) => Math.sign(value))).toEqual([-1, -1, -1, 0, 1, 1, 1]);
    const log = ticks({ min: 1, max: most, size: 200, log: true }, 40, "number");
    expect(log.every(({ value }) => value >= 1 && value <= most)).toBe(true);
    expect(log.length).toBeGreaterThan(3);
  });
  it("are drawn, and found where they are", () => {
    const up = axis(-MOST, MOST, 100);
    expect([-MOST, 0, MOST].map((value) => toPixel(up, value))).toEqual([0, 50, 100]);
    expect(toValue(up, 75)).toBe(MOST / 2);
    const [low, high] = [new Float32Array(2), new Float32Array(2)];
    spans(line([-MOST, MOST, 0]), axis(0, 2, 2), up, low, high);
    expect([[...low], [...high]]).toEqual([
      [0, 0],
      [100, 50],
    ]);
    const drawn = (most: number) => {
      const [pixels, ends] = [new Uint32Array(9), axis(-most, most, 3)];
      trace(pixels, { ...line([-most, most]), x: [-most, most], epochs: [1, 2] }, ends, ends, 1);
      return [...pixels];
    };
    expect(drawn(MOST)).toEqual(drawn(1));
  });
  it("have places on other axes, and in a small line", () => {
    const { place, between, ticks: marks } = scaleOf([-MOST, 0, MOST]);
    expect([-MOST, 0, MOST].map(place)).toEqual([0, 0.5, 1]);
    expect(marks.map(([share]) => share)).toEqual([0, 0.5, 1]);
    expect(between(0.25, 0.75)).toBe("-6.741e+307..6.741e+307");
    expect(sparkPoints([-MOST, 0, MOST])).toBe("2.0,16.0 42.0,9.0 82.0,2.0");
    const nine = Array.from({ length: 9 }, (_, i) => MOST * (i / 4 - 1));
    const parts = partsOf(nine, String);
    expect(nine.map(parts.of)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 7]);
  });
  it("have a mean and quartiles between them", () => {
    const curves = [-MOST, MOST].map((value) => ({ epochs: [1], values: [value], n: 1 }));
    const { mean, low, high } = meanAndBand(curves, "quartiles");
    expect([mean[0], low[0], high[0]]).toEqual([0, -MOST / 2, MOST / 2]);
  });
});

describe("a score on x that is the same at all epochs", () => {
  it.each([0.5, 1e17, MOST])("has an axis: %s", (value) => {
    const [low, high] = xExtent(model([{ ...line([1, 2]), x: [value, value], epochs: [1, 2] }]));
    expect(low).toBeLessThan(value);
    expect(high).toBeGreaterThan(value);
  });
});

describe("the smallest numbers there are", () => {
  it("have numbers on their axis", () => {
    expect(ticks(axis(5e-324, 5e-323, 200), 40, "number").length).toBeGreaterThan(1);
    expect(ticks(axis(0, 5e-323, 200), 40, "number")[0]!.text).toBe("0");
  });
});
