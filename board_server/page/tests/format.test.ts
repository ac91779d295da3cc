import { describe, expect, it } from "vitest";
import { csv, exactValue, formatNumber, formatTick, formatValue } from "../src/format";
import type { Json } from "../src/json";
import cases from "./number_cases.json";

describe("a hyperparameter's value", () => {
  it.each([
    [3.8433531869183315e-4, "3.84335e-4", "3.8433531869183315e-4"],
    [0.012345678, "0.0123457", "0.012345678"],
    [-1234567.89, "-1.23457e6", "-1.23456789e6"],
    [20240131, "20240131", "20240131"],
    [1_000_000, "1000000", "1000000"],
    [2 ** 53 - 1, "9007199254740991", "9007199254740991"],
    [1e-300, "1e-300", "1e-300"],
    [1e20, "1e20", "1e20"],
    [0, "0", "0"],
    [0.5, "0.5", "0.5"],
    [null, "None", "None"],
    [true, "True", "True"],
    ["relu", "relu", "relu"],
    [[64, 32], "[64,32]", "[64,32]"],
    [{ component: "adam" }, "adam", "adam"],
    [
      { component: "adam", learning_rate: 1 / 3, nesterov: false },
      "adam(learning_rate=0.333333, nesterov=False)",
      "adam(learning_rate=0.3333333333333333, nesterov=False)",
    ],
  ] as [Json, string, string][])("%j is %s", (value, short, exact) => {
    expect(formatValue(value)).toBe(short);
    expect(exactValue(value)).toBe(exact);
  });
  it("that is not there is nothing", () => expect(formatValue(undefined)).toBe(""));
});

describe("the number of an axis", () => {
  it.each([1e96, 1.5e120, 1e300, -1e200, 1e-300])("%d is written, however far it is from 1", (value) => {
    expect(Number(formatTick(value, 120))).toBe(value);
  });
});

describe("CSV", () => {
  it("holds no formula, and numbers as they are", () => {
    const rows = [["=HYPERLINK(1)", "+1+1", "@SUM(A1)", "-x", "\tx", -1, 1e-5, "a=b"]];
    expect(csv(rows)).toBe("'=HYPERLINK(1),'+1+1,'@SUM(A1),'-x,'\tx,-1,0.00001,a=b\r\n");
  });
  it("writes what the server's does: True, nothing for None, JSON for lists and components", () => {
    expect(csv([[true, false, null, undefined, [64, 32], { component: "adam" }]])).toBe(
      'True,False,,,"[64,32]","{""component"":""adam""}"\r\n',
    );
  });
});

it("a score is written as the verdict writes it, in Python too", () => {
  expect(cases.map(([value]) => [value, formatNumber(value as number)])).toEqual(cases);
});
