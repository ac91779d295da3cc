import { describe, expect, it } from "vitest";
import {
  bestOfAll,
  bestSoFar,
  bins,
  meanAndBand,
  rankCorrelation,
  ranks,
  smooth,
  varianceExplained,
} from "../src/statistics";
import cases from "./influence_cases.json";

const close = (found: ArrayLike<number>, wanted: number[]) => {
  expect(found.length).toBe(wanted.length);
  wanted.forEach((value, i) => void expect(found[i]).toBeCloseTo(value, 12));
};

describe("smooth", () => {
  it("equals pandas' ewm(alpha=0.4, adjust=True)", () => {
    close(smooth([1, 3, 2, 5], [1, 2, 3, 4], 4, 0.6), [1, 2.25, 2.122448979591837, 3.4448529411764706]);
  });
  it("is the curve itself with weight 0, and passes over NaN", () => {
    close(smooth([1, 2], [1, 2], 2, 0), [1, 2]);
    const found = smooth([1, NaN, 3], [1, 2, 3], 3, 0.5);
    expect(found[1]).toBeNaN();
    expect(found[2]).toBeCloseTo((0.125 * 1 + 0.75 * 3) / 0.875, 12);
  });
  it("lets a value stand for all epochs since the one before, as if it had been logged at each", () => {
    const epochs = [3, 4, 9, 10, 40];
    const values = [2, -1, 5, 4, 7];
    // The plain loop, over every epoch from the first on.
    let [average, past] = [0, 1];
    const wanted: number[] = [];
    for (let epoch = 3; epoch <= 40; epoch++) {
      const at = epochs.findIndex((one) => one >= epoch);
      average = 0.8 * average + 0.2 * values[at]!;
      past *= 0.8;
      if (epochs[at] === epoch) wanted.push(average / (1 - past));
    }
    close(smooth(values, epochs, 5, 0.8), wanted);
    const b = 0.8 ** 5; // in closed form, the third point
    const parts = [0.2 * 0.8 * b, 0.2 * b, 1 - b];
    const sum = parts.reduce((one, other) => one + other);
    expect(wanted[2]).toBeCloseTo((parts[0]! * 2 + parts[1]! * -1 + parts[2]! * 5) / sum, 12);
  });
});

describe("bestSoFar", () => {
  it("keeps the best finite value", () => {
    const found = bestSoFar([NaN, 2, 1, NaN, 3, Infinity], 6, "max");
    expect([...found]).toEqual([NaN, 2, 2, 2, 3, 3]);
    expect([...bestSoFar([3, 4, 1], 3, "min")]).toEqual([3, 3, 1]);
  });
});

describe("meanAndBand", () => {
  const curve = (epochs: number[], values: number[]) => ({ epochs, values, n: epochs.length });
  it("equals numpy's mean and std(ddof=1), epoch by epoch, over all curves", () => {
    const band = meanAndBand([curve([1, 2, 3], [1, 2, 3]), curve([1, 2, 3], [3, 6, 5])], "std");
    expect([...band.epochs]).toEqual([1, 2, 3]);
    close(band.mean, [2, 4, 4]);
    close(band.high, [2 + Math.SQRT2, 4 + 2 * Math.SQRT2, 4 + Math.SQRT2]);
  });
  it("counts only finite values, and is NaN where there are none", () => {
    const band = meanAndBand([curve([1, 2, 4], [1, NaN, 8]), curve([4, 5], [2, 6])], "range");
    expect([...band.epochs]).toEqual([1, 2, 4, 5]);
    expect([...band.mean]).toEqual([1, NaN, 5, 6]);
    expect([...band.count]).toEqual([1, 0, 2, 1]);
    expect([...band.low]).toEqual([1, NaN, 2, 6]);
    expect([...band.high]).toEqual([1, NaN, 8, 6]);
  });
  it("has the quartiles of numpy.quantile of the finite values", () => {
    const some = [3, 1, 10, 2, NaN].map((value, i) => curve([i % 2, 2, 3], [0, value, i === 4 ? 5 : NaN]));
    const band = meanAndBand(some, "quartiles");
    expect([...band.epochs]).toEqual([0, 1, 2, 3]);
    close(band.low.subarray(2), [1.75, 5]);
    close(band.high.subarray(2), [4.75, 5]);
  });
  it("is the same where epochs are far apart, and needs no more room for it", () => {
    const some = [curve([1, 2, 4], [1, NaN, 8]), curve([4, 5], [2, 6]), curve([2, 5], [3, 1])];
    const far = (epochs: ArrayLike<number>) => Array.from(epochs, (epoch) => epoch * 400_000_000);
    const apart = some.map((one) => ({ ...one, epochs: far(one.epochs) }));
    for (const band of ["std", "quartiles", "range"] as const) {
      const { epochs, ...near } = meanAndBand(some, band);
      expect(meanAndBand(apart, band)).toEqual({ ...near, epochs: Float64Array.from(far(epochs)) });
    }
    expect([...bestOfAll(apart, "max").epochs]).toEqual(far([1, 2, 4, 5]));
    expect(bestOfAll(apart, "max").values).toEqual(bestOfAll(some, "max").values);
  });
  it("is empty without curves", () => {
    expect(meanAndBand([], "std").epochs.length).toBe(0);
  });
});

describe("importance", () => {
  it("ranks ties as scipy.stats.rankdata", () => {
    expect(ranks([3, 1, 4, 1, 5, 9, 2, 6])).toEqual([4, 1.5, 5, 1.5, 6, 8, 3, 7]);
  });
  it("equals scipy.stats.spearmanr", () => {
    expect(rankCorrelation([1, 2, 3, 4, 5, 5, 7], [2, 1, 4, 3, 7, 8, 6])).toBeCloseTo(0.8108437164260032, 12);
    expect(rankCorrelation([1, 1, 1], [1, 2, 3])).toBeNaN();
  });
  it("explains all of the variance but the noise within, corrected for the number of bins", () => {
    // SS_total = 60, SS_within = 6, n = 9, k = 3: 1 - (6 / 6) / (60 / 8).
    const values = ["a", "a", "a", "b", "b", "b", "c", "c", "c"];
    expect(varianceExplained(values, [1, 2, 3, 4, 6, 5, 7, 8, 9])).toBeCloseTo(1 - 8 / 60, 12);
    expect(varianceExplained(["a", "a"], [1, 2])).toBeNaN();
  });
  for (const { what, values, scores, share } of cases)
    it(`is what the engine says: ${what}`, () => {
      const found = varianceExplained(values as (number | string | null)[], scores);
      if (share === null) expect(found).toBeNaN();
      else expect(found).toBeCloseTo(share, 12);
    });
  it("puts many numbers into eight bins of equal count", () => {
    const found = bins(Array.from({ length: 80 }, (_, i) => i * i));
    const counts = new Map<number | string | null, number>();
    for (const bin of found) counts.set(bin, (counts.get(bin) ?? 0) + 1);
    expect([...counts.values()]).toEqual(Array(8).fill(10));
  });
});

describe("bestOfAll", () => {
  it("is the best of all curves up to each epoch, whichever of them have it", () => {
    const one = { epochs: [1, 2, 5], values: [0.3, NaN, 0.4], n: 3 };
    const other = { epochs: [2, 3, 5], values: [0.5, 0.1, 0.2], n: 3 };
    const found = bestOfAll([one, other, { epochs: [], values: [], n: 0 }], "max");
    expect([...found.epochs]).toEqual([1, 2, 3, 5]);
    expect([...found.values]).toEqual([0.3, 0.5, 0.5, 0.5]);
    expect([...bestOfAll([one, other], "min").values]).toEqual([0.3, 0.3, 0.1, 0.1]);
    expect(bestOfAll([], "max").epochs.length).toBe(0);
  });
});

describe("bins", () => {
  it("of numbers beside which some have no value are those of the numbers, and one more", () => {
    const values = [null, ...Array.from({ length: 16 }, (_, i) => i / 3), null];
    const found = bins(values);
    expect([found[0], found.at(-1)]).toEqual([null, null]);
    expect(found.slice(1, -1)).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]);
  });
});
