import { describe, expect, it } from "vitest";
import { formatAddress, formatIds, parseAddress, parseIds } from "../src/address";
import { DEFAULTS, readAnalysis, readView, type ViewState, writeView } from "../src/view_state";

describe("addresses", () => {
  it("come back as they went, whatever names hold", () => {
    const params = {
      q: "/a+b=c&d/ 100%",
      "c.optimizer.learning_rate": "<0.01",
      "c.a=b": "ü?#",
      rule: "top 5 by val/f1",
    };
    const found = parseAddress(formatAddress(["runs", "a/b", "analysis"], params));
    expect(found.path).toEqual(["runs", "a/b", "analysis"]);
    expect({ ...found.params }).toEqual(params);
  });
  it("bear what people type", () => {
    expect(parseAddress("").path).toEqual([]);
    expect(parseAddress("#/runs/x?q=100%&&=1&flag").params.q).toBe("100%");
    expect(parseAddress("#runs").path).toEqual(["runs"]);
  });
});

describe("ids", () => {
  it("are written as ranges and read back", () => {
    expect(formatIds([5, 3, 1, 2, 9, 10, 2])).toBe("1-3,5,9,10");
    expect(parseIds("1-3,5,9,10")).toEqual([1, 2, 3, 5, 9, 10]);
    expect(parseIds("x,-1,7,2-1,1e3")).toEqual([7]);
    expect(parseIds("0-999999999").length).toBe(100_000);
  });
});

describe("view state", () => {
  const all: ViewState = {
    q: "lr=0.1",
    columns: { "optimizer.learning_rate": "0.1..1", "a,b": "x" },
    sort: "-best val/f1",
    show: ["status", "a,b%"],
    pick: [1, 2, 3, 7],
    scores: "^val/(f1|loss)$",
    x: "time",
    logx: true,
    logy: true,
    smooth: 0.85,
    best: "auto",
    group: "optimizer.learning_rate",
    band: "range",
    outliers: "all",
    symlog: true,
    bins: 0,
    colour: "rank",
    hide: [0, 4, 5, 6],
    hideGroups: ["a,b = 1"],
    pin: ["val/loss", "val/f1"],
    mapX: "optimizer.learning_rate",
    mapY: "val/loss",
    history: "time",
    wide: "val/loss",
    zoom: [1.5, 20],
    ranges: { "val/loss": [0.25, 1] },
    by: "val/f1",
    mode: "min",
    at: "last",
    compare: "chosen",
    runs: ["2026-11-23--17-59-10", "digits"],
    each: "best",
    follow: true,
    rule: 'top 5 by val/f1 where "a b" = 1',
  };
  it("survives an address", () => {
    const { view, foreign } = readView(parseAddress(formatAddress([], writeView(all))).params);
    expect(view).toEqual(all);
    expect(foreign).toEqual([]);
  });
  it("writes nothing for the usual values", () => {
    expect(writeView(DEFAULTS)).toEqual({});
    expect(readView({}).view).toEqual(DEFAULTS);
  });
  it("passes over what does not fit, and names it", () => {
    const { view, foreign } = readView({ smooth: "7", x: "parsec", zoom: "9..1", tomorrow: "1", q: "ok" });
    expect(view).toEqual({ ...DEFAULTS, q: "ok" });
    expect(foreign.sort()).toEqual(["smooth", "tomorrow", "x", "zoom"]);
    for (const zoom of ["1..Infinity", "-1e999..5", "1", "a..b"])
      expect(readView({ zoom })).toMatchObject({ view: { zoom: null }, foreign: ["zoom"] });
  });
});

describe("exported analyses", () => {
  const good = {
    format: "mlgym_jax.analysis",
    version: 1,
    grid_search_id: "r",
    config_hash: null,
    view: "analysis",
    params: { q: "x" },
  };
  it("are checked", () => {
    expect(readAnalysis(JSON.stringify(good)).params).toEqual({ q: "x" });
    expect(() => readAnalysis("{")).toThrow("not JSON");
    expect(() => readAnalysis("[]")).toThrow("format");
    expect(() => readAnalysis(JSON.stringify({ ...good, version: 2 }))).toThrow("version 2");
    expect(() => readAnalysis(JSON.stringify({ ...good, params: { q: 1 } }))).toThrow("damaged");
  });
});
