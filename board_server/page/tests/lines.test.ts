import { describe, expect, it } from "vitest";
import { Curve, Curves } from "../src/curve";
import { commonSteps, epochsOf, linesOf, xKindOf } from "../src/lines";
import { type Experiment, fromDetail, newExperiment, type Run } from "../src/run_state";
import { DEFAULTS } from "../src/view_state";
import type { Progress, RunDetail } from "../src/wire";

const experiment = (id: number, lr = 0.1, steps = 0): Experiment => ({
  ...newExperiment(id),
  hyperparameters: { lr },
  progress: steps ? ({ num_batches: steps } as Progress) : null,
});
const run = (): Run =>
  fromDetail({ groups: [], speeds: [], scores: [], mismatches: [] } as unknown as RunDetail, [], 0);
const curve = (epochs: number[], values: number[], total?: number) =>
  new Curve(Int32Array.from(epochs), Float64Array.from(values), total);
const curves = (...all: Curve[]) => {
  const found = new Curves();
  all.forEach((one, id) => void found.set(id, one));
  return found;
};
const xs = ({ x, kx, ox, n }: { x: ArrayLike<number>; kx: number; ox: number; n: number }) =>
  Array.from({ length: n }, (_, i) => x[i]! * kx + ox);
const shape = (change: object) => ({ ...DEFAULTS, ...change });

describe("x as time", () => {
  it("is what was trained: a run that rested for a day goes on where it stood", () => {
    const day = 86_400_000;
    const one = run();
    one.times = curves(curve([1, 2, 3, 4], [1000, 2000, day + 1000, day + 2000]));
    one.seconds = curves(curve([1, 2, 3, 4], [0.5, 1, 1.75, 2.25]));
    const resumed = { ...experiment(0), started: day };
    const { lines } = linesOf(
      one,
      "l",
      [resumed],
      curves(curve([1, 3, 4], [9, 8, 7])),
      shape({ x: "time" }),
      false,
    );
    expect(xs(lines[0]!)).toEqual([0.5, 1.75, 2.25]);
  });
  it("is the time since the first result where the log does not say what was trained", () => {
    const one = run();
    one.times = curves(curve([1, 2, 3], [5000, 7000, 6000]));
    one.seconds = curves(curve([1, 2, 3], [0.5, NaN, NaN]));
    const { lines } = linesOf(
      one,
      "l",
      [experiment(0)],
      curves(curve([1, 2, 3], [9, 8, 7])),
      shape({ x: "time" }),
      false,
    );
    expect(xs(lines[0]!)).toEqual([0, 2, 2]); // a clock that goes back stands still
  });
});

describe("a range on x", () => {
  const seen = run();
  seen.times = curves(curve([1, 2, 3, 4], [1, 2, 3, 4]), curve([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]));
  seen.seconds = curves(
    curve([1, 2, 3, 4], [1, 2, 3, 4]),
    curve([1, 2, 3, 4, 5, 6], [0.5, 1, 1.5, 2, 2.5, 3]),
  );
  const some = [experiment(0, 0.1, 10), experiment(1, 0.1, 25), experiment(2)];
  it("is the range of epochs in which one of the experiments is there", () => {
    expect(epochsOf(seen, [3, 7], "epoch", some)).toEqual([3, 7]);
    expect(epochsOf(seen, [50, 100], "step", some)).toEqual([2, 10]);
    expect(epochsOf(seen, [1.6, 2.2], "time", some)).toEqual([1, 5]);
  });
  it("has no end where it goes on, so that it stays the same while more comes", () => {
    expect(epochsOf(seen, [1.6, 9], "time", some)).toEqual([1, Infinity]);
  });
  it("is none before the times are known, or behind them", () => {
    expect(epochsOf(run(), [1, 2], "time", some)).toBeNull();
    expect(epochsOf(seen, [5, 6], "time", some)).toBeNull();
  });
});

describe("x as step", () => {
  const some = [experiment(0, 0.1, 10), experiment(1, 0.1, 10), experiment(2, 0.2, 25), experiment(3, 0.2)];
  it("of a mean is its members' where they agree", () => {
    expect(xKindOf({ x: "step", group: "lr" }, some)).toBe("step");
    const data = curves(...some.map(({ id }) => curve([1, 2, 4], [id, id, id])));
    const { lines } = linesOf(run(), "l", some, data, shape({ x: "step", group: "lr" }), false);
    expect(lines.map(xs)).toEqual([
      [10, 20, 40],
      [25, 50, 100],
    ]);
  });
  it("of a mean falls back to the epoch where they do not, and so does time", () => {
    expect(xKindOf({ x: "step", group: "(all)" }, some)).toBe("epoch");
    expect(xKindOf({ x: "time", group: "lr" }, some)).toBe("epoch");
    expect(xKindOf({ x: "time", group: "" }, some)).toBe("time");
    expect([commonSteps(some), commonSteps(some.slice(2)), commonSteps([])]).toEqual([NaN, 25, 1]);
  });
});

describe("means", () => {
  it("say how many members are finite of how many, and where one stops being so", () => {
    const all = [0, 1, 2, 3].map((id) => experiment(id));
    const data = curves(curve([1, 2, 3, 4], [1, 2, 3, 4]), curve([1, 2, 3], [3, 4, NaN]), curve([1], [NaN]));
    const { lines, labels, bands } = linesOf(
      run(),
      "l",
      all,
      data,
      shape({ group: "(all)", band: "range" }),
      false,
    );
    const [line] = lines;
    expect([...(line!.y as Float64Array)]).toEqual([2, 3, 3, 4]);
    expect([...(line!.count as Uint32Array)]).toEqual([2, 2, 1, 1]);
    expect([line!.members, line!.marks, labels.get(0)]).toEqual([
      4,
      [
        [3, 4],
        [1, NaN],
      ],
      "all experiments",
    ]);
    expect([...(bands[0]!.high as Float64Array)]).toEqual([3, 4, 3, 4]);
  });
});

describe("smoothed lines", () => {
  it("carry the logged values, single ones only", () => {
    const values = curve([1, 2, 3], [1, 3, 2]);
    const single = linesOf(run(), "l", [experiment(0)], curves(values), shape({ smooth: 0.6 }), false)
      .lines[0]!;
    expect(single.raw).toBe(values.values);
    expect(single.y[2]).toBeCloseTo(2.122448979591837, 12);
    const grouped = linesOf(
      run(),
      "l",
      [experiment(0)],
      curves(values),
      shape({ smooth: 0.6, group: "lr" }),
      false,
    );
    expect(grouped.lines[0]!.raw).toBeUndefined();
  });
});

describe("one score over another", () => {
  const y = curve([1, 2, 3, 4, 5], [10, 20, NaN, 40, 50]);
  const x = curve([2, 3, 4, 5, 6], [0.9, 0.5, 0.7, Infinity, 0.1]);
  const over = linesOf(run(), "val/l", [experiment(0)], curves(y), shape({ x: "val/f1" }), false, {
    across: curves(x),
  }).lines[0]!;
  it("is drawn at the epochs of both, in their order", () => {
    expect([...(over.epochs as Int32Array)].slice(0, over.n)).toEqual([2, 3, 4, 5]);
    expect(xs(over)).toEqual([0.9, 0.9, 0.7, 0.7]);
    expect([...(over.y as Float64Array)].slice(0, over.n)).toEqual([20, NaN, 40, NaN]);
  });
  it("has a mark where either stops being finite", () => {
    expect(over.marks).toEqual([
      [0.9, 20],
      [0.7, 40],
    ]);
  });
  it("is no line where there is none of the other", () => {
    expect(linesOf(run(), "val/l", [experiment(0)], curves(y), shape({ x: "val/f1" }), false).lines).toEqual(
      [],
    );
  });
});

describe("a zoom on decimated curves", () => {
  const overview = curves(curve([1, 4, 9, 12, 16], [9, 1, 5, 4, 2], 16));
  const detail = curves(curve([8, 9, 10], [6, 5, 7]));
  const zoomed = (change: object) =>
    linesOf(run(), "l", [experiment(0)], detail, shape(change), false, { overview });
  it("keeps the best of what came before", () => {
    const { lines, shown, total } = zoomed({ best: "min" });
    expect(xs(lines[0]!)).toEqual([1, 4, 8, 9, 10, 12, 16]);
    expect([...(lines[0]!.y as Float64Array)]).toEqual([9, 1, 1, 1, 1, 1, 1]);
    expect([shown, total]).toEqual([3, 3]);
  });
  it("goes on smoothing from there, and takes in what comes live", () => {
    const line = zoomed({ smooth: 0.5 }).lines[0]!;
    // Weights of epochs 1, 4 and 8 at epoch 8: each value stands for the epochs since the one before.
    const [a, b, c] = [0.5 * 0.5 ** 7, (1 - 0.5 ** 3) * 0.5 ** 4, 1 - 0.5 ** 4];
    expect(line.y[2]).toBeCloseTo((a * 9 + b * 1 + c * 6) / (a + b + c), 12);
    detail.of(0).add(11, 3);
    expect(xs(zoomed({}).lines[0]!)).toEqual([1, 4, 8, 9, 10, 11, 12, 16]);
  });
});
