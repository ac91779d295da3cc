import { describe, expect, it } from "vitest";
import { formatDuration } from "../src/format";
import type { PlotModel } from "../src/plot_model";
import { xExtent, yExtent, yView } from "../src/ranges";
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

describe("what a chart leaves out", () => {
  const usual = [1, 2, 3].map((k) => line([1, 2, 3, 4], [2 + k / 10, 1.5, 1.2, 1]));
  const diverged = line([1, 2, 3, 4], [2, 1e5, 1e12, 1e17]);
  it("is nothing, but it is known that a few values stretch it", () => {
    const view = yView(model([...usual, diverged]), [1, 4]);
    expect(view.range[1]).toBeGreaterThan(1e17);
    expect(view).toMatchObject({ left: "", stretched: true, blank: false });
    expect(yView(model(usual), [1, 4]).stretched).toBe(false);
  });
  it("is said of outliers, whose share does not matter", () => {
    for (const lines of [
      [...usual, diverged],
      [usual[0]!, usual[1]!, diverged],
      [usual[0]!, diverged],
    ]) {
      const { range, left } = yView(model(lines, { cut: true }), [1, 4]);
      expect(range[1]).toBeLessThan(3);
      expect(left).toBe("1 line goes beyond, up to 1e17");
    }
    const down = line([1, 2], [1, -1e9]);
    expect(yView(model([...usual, diverged, down], { cut: true }), [1, 4]).left).toBe(
      "2 lines go beyond, down to -1B and up to 1e17",
    );
  });
  it("is left out by itself only where it stretches y", () => {
    const cut = yView(model([...usual, diverged], { cut: "auto" }), [1, 4]);
    expect(cut).toMatchObject({ left: "1 line goes beyond, up to 1e17", isCut: true, stretched: false });
    const near = line([1, 2, 3, 4], [2, 6, 8, 9]); // beyond the fence, but y can bear it
    expect(yView(model([...usual, near], { cut: true }), [1, 4]).isCut).toBe(true);
    expect(yView(model([...usual, near], { cut: "auto" }), [1, 4])).toMatchObject({ isCut: false, left: "" });
    expect(yView(model([...usual, diverged], { cut: "auto", yZoom: [0, 1] }), [1, 4]).isCut).toBe(false);
  });
  it("is by quantiles: beyond three times the height between the medians of the lines' ends", () => {
    // Of each line the least and greatest of its 98 %: medians 1 and 2.2 (lower: 2.1), so 3 times their distance beyond.
    const at = (value: number) =>
      yView(model([...usual, line([1, 2], [1.5, value])], { cut: true }), [1, 4]).left;
    expect(at(2.2 + 3 * 1.2 - 0.01)).toBe("");
    expect(at(2.2 + 3 * 1.2 + 0.01)).toBe("1 line goes beyond, up to 5.81");
    expect(at(1 - 3 * 1.1 + 0.01)).toBe("");
    expect(at(1 - 3 * 1.1 - 0.01)).toBe("1 line goes beyond, down to -2.31");
  });
  it("is nothing on a symmetric logarithm, which bears negatives and zeros", () => {
    const below = line([1, 2, 3, 4], [-1e6, -2, 0, 4]);
    const view = yView(model([...usual, below], { symlog: true }), [1, 4]);
    expect(view).toMatchObject({ left: "", blank: false, scaling: { log: false, linear: 1 } });
    expect(view.range[0]).toBeLessThanOrEqual(-1e6);
    expect(view.range[1]).toBeGreaterThanOrEqual(4);
  });
  it("is not the steep beginning that all lines have", () => {
    const steep = [1, 2, 3].map((k) => line([1, 2, 3, 4, 5, 6], [5 + k, 0.3, 0.2, 0.1, 0.1, 0.1]));
    expect(yView(model(steep, { cut: true }), [1, 6])).toMatchObject({ left: "", stretched: false });
  });
  it("is said of a logarithmic y", () => {
    const below = line([1, 2, 3, 4], [-1, -2, 0, -4]);
    const partly = line([1, 2, 3, 4], [1, 2, 0, 4]);
    const view = yView(model([...usual, below, below, partly], { logy: true }), [1, 4]);
    expect(view.left).toBe("2 lines have no positive value; 1 line has values that are not positive");
    expect(view.blank).toBe(false);
    expect(yView(model([below], { logy: true }), [1, 4])).toMatchObject({
      blank: true,
      left: "1 line has no positive value",
    });
  });
  it("bears all numbers that there are on a logarithmic y", () => {
    for (const values of [
      [1e96, 1e120],
      [1e-300, 1e300],
      [Number.MIN_VALUE, Number.MAX_VALUE],
    ]) {
      const [low, high] = yExtent(model([line([1, 2], values)], { logy: true }), [1, 2]);
      expect(low).toBeGreaterThan(0);
      expect(low).toBeLessThanOrEqual(values[0]!);
      expect(high).toBeGreaterThanOrEqual(values[1]!);
      expect(Number.isFinite(high)).toBe(true);
    }
  });
  it("is blank where there is nothing", () => {
    expect(yView(model([]), [1, 4]).blank).toBe(true);
    expect(yView(model([line([1, 2], [NaN, NaN])]), [1, 4]).blank).toBe(true);
  });
  it("is what a zoom on y does not show", () => {
    expect(yExtent(model(usual, { yZoom: [1.1, 1.3] }), [1, 4])).toEqual([1.1, 1.3]);
    expect(yExtent(model(usual, { yZoom: [0, 1.3], logy: true }), [1, 4])[0]).toBeGreaterThan(0);
  });
});

describe("a line whose x need not rise", () => {
  const back = { ...line([3, 1, 2], [5, 50, 7]), epochs: [1, 2, 3] };
  it("is shown whole, and of a zoom what is in it", () => {
    expect(xExtent(model([back]))).toEqual([1, 3]);
    expect(yExtent(model([back]), [1.5, 3])).toEqual([4.9, 7.1]);
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
