import { describe, expect, it } from "vitest";
import { directions } from "../src/plot_input";

describe("a drag", () => {
  it("zooms x where it is flat, y where it is steep, and both where it is a box", () => {
    expect(directions([10, 50], [90, 60], false)).toEqual([true, false]);
    expect(directions([10, 50], [14, 150], false)).toEqual([false, true]);
    expect(directions([10, 50], [90, 150], false)).toEqual([true, true]);
    expect(directions([10, 50], [12, 51], false)).toEqual([false, false]); // a click
  });
  it("zooms x alone with Shift, and y alone along its numbers", () => {
    expect(directions([10, 50], [90, 150], true)).toEqual([true, false]);
    expect(directions([-20, 50], [90, 60], false)).toEqual([false, true]);
  });
});
