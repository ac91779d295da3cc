import { describe, expect, it } from "vitest";
import { roundStep, ticks } from "../src/ticks";

const axis = (min: number, max: number, size: number, log = false) => ({ min, max, size, log });
const texts = (...args: Parameters<typeof ticks>) => ticks(...args).map(({ text }) => text);

describe("ticks", () => {
  it("stand at 1, 2 or 5 times a power of ten", () => {
    expect(texts(axis(0, 1, 200), 32, "number")).toEqual(["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    expect(texts(axis(0.03, 0.42, 160), 32, "number")).toEqual(["0.1", "0.2", "0.3", "0.4"]);
    expect(texts(axis(-3, 12, 600), 120, "number")).toEqual(["0", "5", "10"]);
  });
  it("know no half epochs", () => {
    expect(texts(axis(1, 3, 600), 60, "count")).toEqual(["1", "2", "3"]);
  });
  it("can be told from each other however far one zooms", () => {
    for (const [min, max] of [
      [0.91234, 0.91238],
      [123456, 123460],
      [1e-7, 1.5e-7],
      [5e6, 5e6 + 20],
      [-1e-3, 1e-3],
    ] as const) {
      const found = texts(axis(min, max, 400), 60, "number");
      expect(found.length).toBeGreaterThan(2);
      expect(new Set(found).size).toBe(found.length);
    }
  });
  it("name numbers on a log axis of any width", () => {
    expect(texts(axis(1, 1000, 240, true), 60, "number")).toEqual(["1", "10", "100", "1,000"]);
    expect(texts(axis(1, 20, 600, true), 60, "number")).toContain("5");
    expect(texts(axis(0.3, 0.7, 200, true), 32, "number")).toEqual(["0.3", "0.4", "0.5", "0.6", "0.7"]);
    const wide = texts(axis(1e-12, 1e12, 200, true), 32, "number");
    expect(wide.length).toBeGreaterThan(3);
    expect(wide.length).toBeLessThan(10);
  });
  it("are written however large they are", () => {
    const found = texts(axis(1e96, 1e130, 300, true), 32, "number");
    expect(found.length).toBeGreaterThan(2);
    expect(found.every((text) => Number(text) >= 1e96)).toBe(true);
  });
  it("are clock times where x is time", () => {
    expect(texts(axis(0, 600, 400), 80, "time")).toEqual([
      "0 s",
      "2 min 00 s",
      "4 min 00 s",
      "6 min 00 s",
      "8 min 00 s",
      "10 min 00 s",
    ]);
    expect(roundStep(20 * 86_400, 5, "time")).toBe(5 * 86_400);
  });
  it("can be told from each other on any part of a time axis, also a logarithmic one", () => {
    for (const log of [false, true])
      for (const [min, max] of [
        [3, 3.3],
        [10, 14],
        [118, 121],
        [7200, 7230],
        [90_000, 90_100],
        [0.912, 0.9124],
      ] as const) {
        const found = texts(axis(min, max, 600, log), 60, "time");
        expect(found.length).toBeGreaterThan(2);
        expect(new Set(found).size).toBe(found.length);
      }
    expect(texts(axis(10, 11, 200), 60, "time")).toEqual(["10.0 s", "10.5 s", "11.0 s"]);
    expect(texts(axis(7200, 7230, 300), 60, "time")[1]).toBe("2 h 00 min 10 s");
  });
  it("can be told from each other on a small part of a log axis", () => {
    const found = texts(axis(0.91234, 0.91238, 400, true), 60, "number");
    expect(found.length).toBeGreaterThan(2);
    expect(new Set(found).size).toBe(found.length);
  });
  it("are 0 and powers of ten on both sides of it on a symmetric log axis", () => {
    const symmetric = (min: number, max: number, size: number) =>
      texts({ min, max, size, log: false, linear: 0.1 }, 32, "number");
    expect(symmetric(-1000, 1000, 300)).toEqual([
      "-1,000",
      "-100",
      "-10",
      "-1",
      "0",
      "1",
      "10",
      "100",
      "1,000",
    ]);
    expect(symmetric(0, 1e17, 100)).toContain("0");
    expect(symmetric(0, 1e17, 100).length).toBeLessThan(6);
    expect(symmetric(0.2, 2, 190)).toEqual(["0.2", "0.5", "1", "2"]);
    expect(symmetric(0.41, 0.44, 200).length).toBeGreaterThan(2); // a part without a power of ten
  });
  it("are none on an axis without a width", () => {
    expect(ticks(axis(1, 1, 100), 60, "number")).toEqual([]);
    expect(ticks(axis(0, Infinity, 100), 60, "number")).toEqual([]);
  });
});
