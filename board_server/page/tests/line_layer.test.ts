import { describe, expect, it } from "vitest";
import { runs } from "../src/line_layer";

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
