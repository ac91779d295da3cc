import { describe, expect, it } from "vitest";
import { type Done, rates, worksOf } from "../src/rates";

/** An experiment whose epochs ended at `times` (ms) and took `shares` (s) of it. */
function done(amount: number, times: number[], shares?: number[]): Done {
  let sum = 0;
  return {
    times: {
      epochs: Int32Array.from(times, (_, i) => i + 1),
      values: Float64Array.from(times),
      n: times.length,
    },
    seconds: shares && { values: Float64Array.from(shares, (share) => (sum += share)) },
    amount,
  };
}
const plain = (values: number[]) => values.map((value) => Number(value.toFixed(9)));

describe("the epochs of a group", () => {
  it("take the sum of its experiments' shares, and end with the last of them", () => {
    const works = worksOf([done(10, [2000, 3001], [1, 0.5]), done(10, [2001, 3000], [1, 0.5])], 0);
    expect(works).toEqual([
      { end: 2001, ms: 2000, amount: 20 },
      { end: 3001, ms: 1000, amount: 20 },
    ]);
  });
  it("last from the end of the one before where the log does not say it", () => {
    expect(worksOf([done(1, [2000, 5000])], 500).map(({ ms }) => ms)).toEqual([1500, 3000]);
  });
});

describe("rates", () => {
  it("spread an epoch's examples over the time that it took", () => {
    // 30 s, so bins of a second: 100 examples in 4 s, then 520 in 26 s.
    const { x, y, seconds } = rates(worksOf([done(1, [4000, 30_000], [4, 26])], 0));
    expect([x.length, x[0], seconds]).toEqual([30, 0.5, 30]);
    expect(plain(y)).toEqual(
      [...Array(4).fill(1 / 4), ...Array(26).fill(1 / 26)].map((one) => Number(one.toFixed(9))),
    );
  });
  it("do not count the night between two launches", () => {
    const night = 8 * 3_600_000;
    const resumed = rates(worksOf([done(50, [10_000, 20_000, night + 10_000], [10, 10, 10])], 0));
    const through = rates(worksOf([done(50, [10_000, 20_000, 30_000], [10, 10, 10])], 0));
    expect(resumed.seconds).toBe(30);
    expect(plain(resumed.y)).toEqual(plain(through.y));
    expect(plain(resumed.y)).toEqual(Array(30).fill(5));
  });
  it("add what groups do side by side, in time that counts once", () => {
    const { y, seconds } = rates([
      ...worksOf([done(60, [30_000], [30])], 0),
      ...worksOf([done(30, [30_000], [15])], 0),
    ]);
    expect(seconds).toBe(30);
    expect([y[0], y[29]]).toEqual([2, 4]);
  });
  it("are in at most 240 bins, and 0 where there is nothing", () => {
    expect(rates(worksOf([done(1, [2_400_000], [2400])], 0)).y.length).toBe(240);
    expect(rates([]).seconds).toBe(0);
    expect(rates(worksOf([done(1, [0], [0])], 0)).y).toEqual(Array(20).fill(0));
  });
});
