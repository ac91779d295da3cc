import { describe, expect, it } from "vitest";
import { colourOf, coloursOf } from "../src/colours";

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const colours = (ids: number[], picked: number[] = [], dark = false) => {
  const placeOf = coloursOf(ids, picked);
  return ids.map((id) => colourOf(placeOf(id), dark).join());
};

describe("colours", () => {
  it("of what is compared are never the same", () => {
    for (const ids of [[11, 32], [22, 43], [0, 21, 42, 63, 84], range(21), [5, 26, 6, 27]])
      for (const dark of [false, true]) {
        expect(new Set(colours(ids, [], dark)).size).toBe(ids.length);
        const all = colours(range(100), ids, dark);
        expect(new Set(ids.map((id) => all[id])).size).toBe(ids.length);
      }
    expect(new Set(colours(range(100))).size).toBe(100);
  });
  it("are those of 21 hues and tones where few are compared", () => {
    const placeOf = coloursOf(range(80), [11, 32, 53]);
    expect([11, 32, 53].map((id) => placeOf(id)).every((place) => place < 21)).toBe(true);
  });
  it("stay with an id where nothing stands against it", () => {
    expect(coloursOf([3, 30, 17], [])(30)).toBe(9);
    expect(coloursOf(range(44), [12, 32])(12)).toBe(12);
    expect(coloursOf(range(44), [11, 12, 32])(12)).toBe(12); // 32 gives way, not the one beside
    expect(coloursOf(range(1000), [])(7)).toBe(7);
  });
});
