import { describe, expect, it, vi } from "vitest";
import { drawBand, drawLines, runs } from "../src/line_layer";
import { SvgPen } from "../src/svg";

const mean = (count: number[], members: number) => ({
  id: 0,
  x: count.map((_, i) => i),
  kx: 1,
  ox: 0,
  y: count.map(() => 1),
  n: count.length,
  rgb: [0, 0, 0] as const,
  count,
  members,
});

describe("a line of more points than columns", () => {
  it("does not go on across what is not finite", () => {
    const n = 3000;
    const y = Array.from({ length: n }, (_, i) => (i < 1000 || i >= 1800 ? 0.5 + 0.1 * (i % 2) : NaN));
    const line = { id: 0, x: y.map((_, i) => i), kx: 1, ox: 0, y, n, rgb: [0, 0, 0] as const };
    const pen = new SvgPen();
    const axis = (max: number, size: number) => ({ min: 0, max, size, log: false });
    vi.stubGlobal("CanvasRenderingContext2D", class {});
    drawLines(pen, [line], axis(n - 1, 300), axis(1, 100), 1, 1);
    vi.unstubAllGlobals();
    const parts = pen.parts.join("").match(/M[^M"]*/g)!;
    expect(parts).toHaveLength(2);
    const xs = parts.map((part) =>
      part
        .slice(1)
        .split("L")
        .map((point) => Number(point.split(" ")[0])),
    );
    expect(Math.max(...xs[0]!)).toBeCloseTo(99.5, 5);
    expect(Math.min(...xs[1]!)).toBeCloseTo(180.5, 5);
  });
});

describe("a band", () => {
  it("does not go on across what is not finite", () => {
    const pen = new SvgPen();
    const line = { ...mean([2, 2, 0, 2, 2], 2), y: [1, 1, NaN, 1, 1] };
    const axis = (min: number, max: number) => ({ min, max, size: 100, log: false });
    drawBand(pen, { line, low: [0, 0, NaN, 0, 0], high: [2, 2, NaN, 2, 2] }, axis(0, 4), axis(0, 2));
    expect(pen.parts).toHaveLength(2);
    expect(pen.parts.join("")).not.toContain("NaN");
    expect(pen.parts[1]).toContain("M75 100L100 100L100 0L75 0");
  });
});

describe("runs", () => {
  it("part a mean where members are missing, and join at their ends", () => {
    expect(runs(mean([3, 3, 2, 2, 3, 3], 3))).toEqual([
      [0, 2, true],
      [1, 5, false],
      [4, 6, true],
    ]);
  });
  it("are one where nothing is missing, or nothing is averaged", () => {
    expect(runs(mean([2, 2, 2], 2))).toEqual([[0, 3, true]]);
    expect(runs(mean([1], 2))).toEqual([[0, 1, true]]);
    const { count: _, ...line } = mean([1, 1], 5);
    expect(runs(line)).toEqual([[0, 2, true]]);
  });
});
