import { describe, expect, it } from "vitest";
import { heatMap, partsOf } from "../src/heat_map";
import { historyOf } from "../src/history";
import { newExperiment } from "../src/run_state";

const scored = (id: number, score: number | null, swept: object, finished: number | null = 1) => ({
  experiment: {
    ...newExperiment(id),
    status: finished ? "DONE" : "RUNNING",
    finished,
    hyperparameters: { ...swept },
  },
  score,
});
const labels = [String, String] as const;

describe("a heat map", () => {
  const some = [
    scored(0, 0.5, { lr: 0.1, width: 8 }),
    scored(1, 0.7, { lr: 0.1, width: 8 }),
    scored(2, 0.9, { lr: 0.01, width: 8 }),
    scored(3, null, { lr: 0.01, width: 16 }),
    scored(4, 0.2, { lr: 0.1 }),
  ];
  const map = heatMap(some, ["lr", "width"], labels, "max");
  it("has a cell for each pair of values, in their order, and what has none last", () => {
    expect([map.columns, map.rows]).toEqual([
      ["0.01", "0.1"],
      ["8", "16", "(none)"],
    ]);
    expect(map.cells.map((row) => row.map((cell) => cell?.ids ?? null))).toEqual([
      [[2], [0, 1]],
      [[3], null],
      [null, [4]],
    ]);
  });
  it("says mean, sample deviation and count of the finite scores, and ranks the means", () => {
    const cell = map.cells[0]![1]!;
    expect(cell.mean).toBeCloseTo(0.6, 12);
    expect(cell.deviation).toBeCloseTo(Math.SQRT2 / 10, 12);
    expect([cell.scored, cell.share]).toEqual([2, 0.5]);
    expect(map.cells[0]![0]).toMatchObject({ mean: 0.9, deviation: null, share: 1 });
    expect(map.cells[1]![0]).toMatchObject({ mean: null, scored: 0 });
    expect(heatMap(some, ["lr", "width"], labels, "min").cells[2]![1]!.share).toBe(1);
  });
  it("puts more than eight numbers into eight parts, of logarithms over two decades", () => {
    const even = partsOf([0, 1, 2, 3, 4, 5, 6, 7, 8], String);
    expect(even.names[0]).toBe("0..1");
    expect([0, 0.999, 1, 7.5, 8].map(even.of)).toEqual([0, 0, 1, 7, 7]);
    const seeds = partsOf(
      Array.from({ length: 9 }, (_, i) => 20240131 + i),
      String,
    );
    expect([seeds.names[0], seeds.names.at(-1)]).toEqual(["20240131..20240132", "20240138..20240139"]);
    const log = partsOf(
      Array.from({ length: 9 }, (_, i) => 10 ** (i - 8)),
      String,
    );
    expect(log.names.at(-1)).toBe("0.1..1");
    expect([1e-8, 3e-5, 0.5, 1].map(log.of)).toEqual([0, 3, 7, 7]);
    expect(partsOf([...Array(9).keys(), null], String).names.at(-1)).toBe("(none)");
  });
});

describe("the best so far", () => {
  it("is that of those that have finished, as they did", () => {
    const some = [
      scored(0, 0.5, {}, 3000),
      scored(1, null, {}, 1000),
      scored(2, 0.4, {}, 2000),
      scored(3, 0.9, {}, null), // still trains
      scored(4, 0.3, {}, 3000), // at once with 0: after it, by its id
    ];
    const found = historyOf(some, "max", 500);
    expect(found.map(({ one, count, seconds, best }) => [one.experiment.id, count, seconds, best])).toEqual([
      [1, 1, 0.5, null],
      [2, 2, 1.5, 0.4],
      [0, 3, 2.5, 0.5],
      [4, 4, 2.5, 0.5],
    ]);
    expect(historyOf(some, "min", 500).at(-1)!.best).toBe(0.3);
    expect(historyOf([], "max", null)).toEqual([]);
  });
});
