import { describe, expect, it } from "vitest";
import { parseCondition, sortExperiments } from "../src/filter";
import { csv, exactValue, formatValue } from "../src/format";
import { type Json, parseJson, toNumber, writeJson } from "../src/json";
import { newExperiment } from "../src/run_state";

const LONG = "18446744073709551615"; // 2^64 - 1: as a number it is 18446744073709552000

describe("integers beyond 2^53", () => {
  it("keep all digits; other numbers, and texts, are what they were", () => {
    const same = String.raw`{"a":"x: 18446744073709551615, \\","b":"\"[18446744073709551615]","n":[0.12345678901234567,1e20,9007199254740991,-1234567890123456]}`;
    expect(parseJson(same)).toEqual(JSON.parse(same));
    expect(parseJson(`{"seed": ${LONG} ,"more":[-${LONG},${LONG}],"${LONG}":1}`)).toEqual({
      seed: LONG,
      more: [`-${LONG}`, LONG],
      [LONG]: 1,
    });
    expect(parseJson(`{"a":"${'\\\\\\"x'.repeat(300_000)}","b":${LONG}}`).b).toBe(LONG);
  });
  it("are shown and exported with them", () => {
    expect([formatValue(LONG), exactValue([LONG, "a"] as Json)]).toEqual([LONG, `[${LONG},"a"]`]);
    expect(csv([[LONG, `-${LONG}`]])).toBe(`${LONG},-${LONG}\r\n`);
    expect(writeJson({ seed: LONG })).toBe(`{\n  "seed": ${LONG}\n}`);
    expect(toNumber(LONG)).toBe(2 ** 64);
  });
  it.each([
    [LONG, true],
    ["18446744073709551614", false],
    ["1844674407370955161", false],
    [">18446744073709551614", true],
    [`>${LONG}`, false],
    ["<1e20", true],
    [`18446744073709551615..18446744073709551616`, true],
    ["1..18446744073709551614", false],
    [`=${LONG}`, true],
  ])("are found by %s: %s", (condition, wanted) => {
    const found = parseCondition(condition);
    expect(found.ok && found.value(LONG)).toBe(wanted);
  });
  it("are sorted among other numbers", () => {
    const seeds = [LONG, 3, "18446744073709551614", 1e30, -1];
    const all = seeds.map((seed, id) => ({ ...newExperiment(id), hyperparameters: { seed } }));
    expect(sortExperiments(all, "seed").map(({ id }) => id)).toEqual([4, 1, 2, 0, 3]);
  });
});
