import { describe, expect, it } from "vitest";
import { toPixel, toValue } from "../src/raster";
import { backward, forward, linearPart, symlog } from "../src/scaling";

describe("the symmetric logarithm", () => {
  it("is sign(v) ln(1 + |v| / c)", () => {
    expect(symlog(0, 0.1)).toBe(0);
    expect(symlog(9.9, 0.1)).toBeCloseTo(Math.log(100), 12);
    expect(symlog(-9.9, 0.1)).toBeCloseTo(-Math.log(100), 12);
    expect(symlog(1e-9, 1) / 1e-9).toBeCloseTo(1, 6); // linear near 0
  });
  it("is undone by its inverse, as the other scales are", () => {
    for (const scaling of [{ log: false }, { log: true }, { log: false, linear: 0.01 }])
      for (const value of scaling.log ? [1e-9, 3, 1e17] : [-1e17, -3, -1e-9, 0, 1e-9, 3, 1e17])
        expect(Math.abs(backward(scaling)(forward(scaling)(value)) - value)).toBeLessThanOrEqual(
          1e-13 * Math.abs(value),
        );
  });
  it("places values evenly on both sides of 0", () => {
    const axis = { min: -100, max: 100, size: 200, log: false, linear: 1 };
    expect(toPixel(axis, 0)).toBeCloseTo(100, 9);
    expect(toPixel(axis, 5) + toPixel(axis, -5)).toBeCloseTo(200, 9);
    expect(toValue(axis, toPixel(axis, -7))).toBeCloseTo(-7, 9);
  });
});

describe("its linear part", () => {
  it("ends at the power of ten below which about a twentieth of the values lie", () => {
    const values = Array.from({ length: 101 }, (_, i) => (i % 2 ? -1 : 1) * (i + 1)); // the sixth smallest is 6
    expect(linearPart(values)).toBe(1);
    expect(linearPart(values.map((value) => value * 1000))).toBe(1000);
  });
  it("does not mind what is 0 or not finite", () => {
    expect(linearPart([0, 0, NaN, Infinity, 0.02])).toBe(0.01);
    expect(linearPart([0])).toBe(1);
    expect(linearPart([])).toBe(1);
  });
});
