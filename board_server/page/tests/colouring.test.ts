import { describe, expect, it } from "vitest";
import { colouringOf } from "../src/colouring";
import { colourOf, inkOn, type Rgb, sequentialColour } from "../src/colours";
import { hiddenAfter } from "../src/hidden";
import { type Experiment, fromDetail, newExperiment } from "../src/run_state";
import type { RunDetail } from "../src/wire";

const run = fromDetail({ groups: [], speeds: [], scores: [], mismatches: [] } as unknown as RunDetail, [], 0);
const experiment = (id: number, f1: number, swept: object = {}, refit = false): Experiment => ({
  ...newExperiment(id),
  refit: refit ? {} : null,
  hyperparameters: { ...swept },
  best: { f1: { min: null, max: [1, f1] } },
});
const by = { pick: [], score: "f1", mode: "max" as const, dark: false };

function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map((part) => (part / 255) ** 2.2);
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

describe("the scale of colours", () => {
  it("has a lightness that only rises or only falls, so that everybody orders it alike", () => {
    for (const dark of [true, false]) {
      const steps = Array.from({ length: 101 }, (_, i) => luminance(sequentialColour(i / 100, dark)));
      const sign = dark ? 1 : -1;
      for (let i = 1; i <= 100; i++) expect(sign * (steps[i]! - steps[i - 1]!)).toBeGreaterThan(0);
    }
  });
  it("bears its ends", () => {
    expect(sequentialColour(1, true)).toEqual([253, 231, 37]);
    expect(sequentialColour(1, false)).toEqual([68, 1, 84]);
  });
  it("is written on in black or white, at a contrast of at least 4.5", () => {
    for (let i = 0; i <= 100; i++)
      for (const dark of [true, false]) {
        const rgb = sequentialColour(i / 100, dark);
        const [light, ink] = [luminance(rgb), inkOn(rgb) === "#fff" ? 1 : 0];
        expect((Math.max(light, ink) + 0.05) / (Math.min(light, ink) + 0.05)).toBeGreaterThan(4.3); // 2.2 is not quite sRGB
      }
  });
});

describe("colours by rank", () => {
  const some = [experiment(0, 0.5), experiment(1, 0.9), experiment(2, 0.7), experiment(3, NaN)];
  it("go from the worst to the best, however far these are apart", () => {
    const { rgbOf, key } = colouringOf(run, [...some, experiment(4, 0.99, {}, true)], {
      ...by,
      colour: "rank",
    });
    expect([0, 2, 1].map(rgbOf)).toEqual([0, 0.5, 1].map((share) => sequentialColour(share, false)));
    expect(key!.ticks).toEqual([
      [0, "3rd"],
      [1, "1st"],
    ]);
    expect(rgbOf(3)).toEqual(rgbOf(4)); // no finite score, and a refit: grey
  });
  it("turn round where less is better", () => {
    const losses = some.map((one) => ({ ...one, best: { f1: { max: null, min: one.best.f1!.max } } }));
    const { rgbOf } = colouringOf(run, losses, { ...by, mode: "min", colour: "rank" });
    expect([1, 2, 0].map(rgbOf)).toEqual([0, 0.5, 1].map((share) => sequentialColour(share, false)));
  });
});

describe("colours by a hyperparameter", () => {
  it("are a scale of numbers, logarithmic over two decades", () => {
    const some = [1e-4, 1e-3, 1e-2].map((lr, id) => experiment(id, 0, { lr }));
    const { rgbOf, key } = colouringOf(run, [...some, experiment(3, 0)], { ...by, colour: "lr" });
    expect([0, 1, 2].map(rgbOf)).toEqual([0, 0.5, 1].map((share) => sequentialColour(share, false)));
    expect(key).toMatchObject({ title: "lr, log", entries: [] });
    expect(key!.ticks.map(([, text]) => text)).toEqual(["1e-4", "0.001", "0.01"]);
    expect(rgbOf(3)).toEqual([150, 156, 166]);
  });
  it("are hues of words, and what has none is said", () => {
    const some = ["sgd", "adam"].map((name, id) => experiment(id, 0, { name }));
    const { rgbOf, key } = colouringOf(run, [...some, experiment(2, 0)], { ...by, colour: "name" });
    expect([1, 0].map(rgbOf)).toEqual([0, 1].map((i) => colourOf(i, false)));
    expect(key!.entries.map(([text]) => text)).toEqual(["adam", "sgd", "(none)"]);
  });
});

describe("a click on a legend", () => {
  it("hides one and draws it again", () => {
    expect(hiddenAfter([], 2, [1, 2, 3], false)).toEqual([2]);
    expect(hiddenAfter([2, 3], 2, [1, 2, 3], false)).toEqual([3]);
  });
  it("with Shift draws one alone, and then all again", () => {
    expect(hiddenAfter([2], 2, [1, 2, 3], true)).toEqual([1, 3]);
    expect(hiddenAfter([1, 3], 2, [1, 2, 3], true)).toEqual([]);
  });
});
