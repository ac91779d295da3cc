import { describe, expect, it } from "vitest";
import { ends, rates } from "../src/rates";

const clock = (...values: number[]) => ({ values: Float64Array.from(values), n: values.length });

describe("rates", () => {
  it("count what was finished in each second", () => {
    // 30 s: bins of a second; 100 examples at 0.5 s and 0.7 s, 50 at 2.5 s.
    const finished = [
      { clock: clock(500, 700), amount: 100 },
      { clock: clock(2500), amount: 50 },
    ];
    const { x, y } = rates(finished, 0, 30_000);
    expect(y.length).toBe(30);
    expect(y.slice(0, 4)).toEqual([200, 0, 50, 0]);
    expect(x.slice(0, 2)).toEqual([0.5, 1.5]);
  });
  it("count epochs where examples are not known, in at most 240 bins", () => {
    const { y } = rates([{ clock: clock(0, 1, 2), amount: 0 }], 0, 2_400_000);
    expect(y.length).toBe(240);
    expect(y[0]).toBeCloseTo(3 / 10, 12);
  });
  it("begin and end with the first and last epoch of any experiment", () => {
    expect(
      ends([
        { clock: clock(5, 9), amount: 1 },
        { clock: clock(2), amount: 1 },
      ]),
    ).toEqual([2, 9]);
    expect(ends([])).toEqual([Infinity, -Infinity]);
  });
});
