import { describe, expect, it } from "vitest";
import { foreignIn, withoutForeign } from "../src/foreign";
import { newExperiment } from "../src/run_state";
import { DEFAULTS, type ViewState } from "../src/view_state";

const experiments = [
  {
    ...newExperiment(0),
    epochs: 1,
    hyperparameters: { lr: 1 },
    best: { "val/f1": { min: null, max: null } },
  },
];
const view: ViewState = {
  ...DEFAULTS,
  columns: { lr: "<1", width: "<1" },
  ranges: { "val/f1": [0, 1], "val/f9": [0, 1] },
  show: ["status", "width"],
  group: "width",
  sort: "-width",
  by: "val/f9",
  colour: "depth",
  x: "val/f9",
  zoom: [0, 1],
  pin: ["val/f1", "val/f9"],
  mapX: "lr",
  mapY: "width",
  rule: "top 1 by val/f9 where width = 1 and lr = 1",
};

describe("foreign state", () => {
  it("is named and left out, the rest stays", () => {
    const found = foreignIn(view, experiments);
    expect(found).toEqual({
      columns: ["width"],
      ranges: ["val/f9"],
      show: ["width"],
      group: ["width"],
      sort: ["width"],
      by: ["val/f9"],
      colour: ["depth"],
      x: ["val/f9"],
      pin: ["val/f9"],
      map: ["width"],
      rule: ["val/f9", "width"],
    });
    expect(withoutForeign(view, found)).toEqual({
      ...DEFAULTS,
      columns: { lr: "<1" },
      ranges: { "val/f1": [0, 1] },
      show: ["status"],
      pin: ["val/f1"],
      mapX: "lr",
      rule: view.rule,
    });
  });
  it("shows the usual columns where none is left", () => {
    const only = { ...DEFAULTS, show: ["unknown"] };
    expect(withoutForeign(only, foreignIn(only, experiments)).show).toBe(null);
  });
  it("leaves the object as it is where all fits", () => {
    const fits = {
      ...view,
      columns: {},
      ranges: {},
      show: null,
      group: "(all)",
      sort: "lr",
      by: "val/f1",
      colour: "rank",
      x: "val/f1" as const,
      pin: [],
      mapY: "val/f1",
      rule: "",
    };
    expect(withoutForeign(fits, foreignIn(fits, experiments))).toBe(fits);
    expect(withoutForeign(view, foreignIn(view, []))).toBe(view);
  });
});
