import { describe, expect, it } from "vitest";
import {
  type Axis,
  divergences,
  type Line,
  nearestPoint,
  paint,
  spans,
  trace,
  unmultiply,
  within,
} from "../src/raster";

const line = (x: number[], y: number[]): Line => ({
  id: 0,
  x,
  kx: 1,
  ox: 0,
  y,
  n: x.length,
  rgb: [255, 0, 0],
});
const axis = (min: number, max: number, size: number, log = false): Axis => ({ min, max, size, log });

function spansOf(one: Line, xAxis: Axis, yAxis: Axis): [number, number][] {
  const low = new Float32Array(xAxis.size);
  const high = new Float32Array(xAxis.size);
  spans(one, xAxis, yAxis, low, high);
  return [...low].map((value, i) => [value, high[i]!]);
}

describe("spans", () => {
  it("loses no peak: one spike of a million points is in its column", () => {
    const n = 1_000_000;
    const x = Array.from({ length: n }, (_, i) => i);
    const y = new Array<number>(n).fill(0);
    y[654_321] = 1;
    const found = spansOf(line(x, y), axis(0, n, 100), axis(0, 1, 50));
    expect(found.filter(([low]) => low === 0).map((_, i) => i).length).toBe(1);
    expect(found[65]).toEqual([0, 50]);
    expect(found[64]).toEqual([50, 50]);
  });
  it("draws a straight line as its slope says", () => {
    const found = spansOf(line([0, 10], [0, 10]), axis(0, 10, 10), axis(0, 10, 10));
    found.forEach(([low, high], c) => {
      expect(low).toBeCloseTo(10 - (c + 1), 5);
      expect(high).toBeCloseTo(10 - c, 5);
    });
  });
  it("does not go on across NaN", () => {
    const found = spansOf(line([0, 2, 4, 6, 8], [5, 5, NaN, 5, 5]), axis(0, 10, 10), axis(0, 10, 10));
    expect(found[1]![0]).toBe(5);
    expect(found[4]![0]).toBe(Infinity);
    expect(found[5]![0]).toBe(Infinity);
    expect(found[7]![0]).toBe(5);
  });
  it("puts decades at equal distances on log axes, and leaves out what is not positive", () => {
    const found = spansOf(line([1, 10, 100], [1, -1, 100]), axis(1, 100, 2, true), axis(1, 100, 20, true));
    expect(found[0]).toEqual([20, 20]);
    expect(found[1]).toEqual([0, 0]);
  });
});

describe("trace", () => {
  it("draws a line that goes back on x, and none across what is not finite", () => {
    const pixels = new Uint32Array(25);
    const there = line([0.5, 4.5, 0.5, 0.5, 2.5], [0.5, 0.5, 4.5, NaN, 2.5]);
    trace(pixels, there, axis(0, 5, 5), axis(0, 5, 5), 1);
    const rows = Array.from({ length: 5 }, (_, row) =>
      [...pixels.slice(5 * row, 5 * row + 5)].map((pixel) => (pixel ? "#" : ".")).join(""),
    );
    expect(rows).toEqual(["#....", ".#...", "..#..", "...#.", "#####"]);
  });
  it("leaves the chart where the way to a point far outside does, and soon", () => {
    const pixels = new Uint32Array(100);
    trace(pixels, line([4.5, 4.5], [0.5, 1e300]), axis(0, 10, 10), axis(0, 10, 10), 1);
    expect([...pixels.keys()].filter((at) => pixels[at])).toEqual([4, 14, 24, 34, 44, 54, 64, 74, 84, 94]);
    trace(pixels.fill(0), line([20, 20, 30], [-5, 5, 30]), axis(0, 10, 10), axis(0, 10, 10), 1);
    expect(pixels.every((pixel) => pixel === 0)).toBe(true);
  });
  it("has the point that is nearest on x, wherever in the line it is", () => {
    expect(nearestPoint({ ...line([3, 1, 2], [0, 0, 0]), epochs: [1, 2, 3] }, 1.2)).toBe(1);
  });
});

describe("within", () => {
  it("keeps one point on either side", () => {
    expect(within(line([0, 1, 2, 3, 4, 5], []), 2, 3)).toEqual([1, 4]);
  });
});

describe("paint", () => {
  it("covers with the colour, half at half cover", () => {
    const pixels = new Uint32Array(2);
    paint(pixels, 1, 2, new Float32Array([0.5]), new Float32Array([0.5]), [200, 100, 50], 1, 1);
    const bytes = new Uint8ClampedArray(pixels.buffer);
    expect([...bytes.slice(0, 4)]).toEqual([200, 100, 50, 255]);
    paint(pixels, 1, 2, new Float32Array([1.5]), new Float32Array([1.5]), [200, 100, 50], 0.5, 1);
    expect(bytes[7]).toBeGreaterThan(125);
    expect(bytes[7]).toBeLessThan(129);
    unmultiply(bytes);
    expect(Math.abs(bytes[4]! - 200)).toBeLessThan(4);
  });
});

describe("divergences", () => {
  it("names where a line stops being finite and its last finite value", () => {
    expect(divergences(line([1, 2, 3, 4, 5, 6], [1, 2, NaN, NaN, 3, Infinity]))).toEqual([
      [2, 2],
      [5, 3],
    ]);
    expect(divergences(line([1, 2], [NaN, NaN]))).toEqual([[0, NaN]]);
  });
});
