/** From the curves of several runs to the lines of one chart: one a run, in its colour. */

import { colourOf } from "./colours";
import type { Curve } from "./curve";
import type { BandShape } from "./line_layer";
import { divergences, type Line, xOf } from "./raster";
import type { Side } from "./run_sides";
import { bestSoFar, meanAndBand, smooth } from "./statistics";
import type { ViewState } from "./view_state";

type Shape = Pick<ViewState, "each" | "smooth" | "best" | "band">;

function valuesOf(curve: Curve, shape: Shape, mode: "max" | "min"): ArrayLike<number> {
  let y: ArrayLike<number> = curve.values;
  if (shape.best) y = bestSoFar(y, curve.n, shape.best === "auto" ? mode : shape.best);
  return shape.smooth ? smooth(y, curve.epochs, curve.n, shape.smooth) : y;
}

/**
 * Lines of one score, `id` is the run's place among those that are compared: its best experiment, or the mean over the
 * seeds and folds of its best candidate with a band.
 */
export function runLines(
  sides: readonly (Side | undefined)[],
  name: string,
  mode: "max" | "min",
  shape: Shape,
  dark: boolean,
): { lines: Line[]; bands: BandShape[] } {
  const lines: Line[] = [];
  const bands: BandShape[] = [];
  sides.forEach((side, id) => {
    const curves = side?.scores.get(name);
    if (!side?.selected || !curves) return;
    const { experiments, best_experiment_id } = side.selected;
    const ids = shape.each === "best" ? [best_experiment_id] : experiments;
    const members = ids
      .map((one) => curves.get(one))
      .filter((one) => one !== undefined)
      .map((curve) => ({ epochs: curve.epochs, values: valuesOf(curve, shape, mode), n: curve.n }));
    const rgb = colourOf(id, dark);
    const [first] = members;
    if (!first) return;
    if (members.length === 1) {
      lines.push({ id, x: first.epochs, kx: 1, ox: 0, y: first.values, n: first.n, rgb });
      return;
    }
    const { epochs, mean, low, high, count } = meanAndBand(members, shape.band);
    const marks = members.flatMap(({ epochs: x, values: y, n }) => {
      const one: Line = { id, x, kx: 1, ox: 0, y, n, rgb };
      return divergences(one).map(([at, value]): [number, number] => [xOf(one, at), value]);
    });
    const line = {
      id,
      x: epochs,
      kx: 1,
      ox: 0,
      y: mean,
      n: mean.length,
      rgb,
      count,
      members: ids.length,
      marks,
    };
    lines.push(line);
    if (shape.band !== "none") bands.push({ line, low, high });
  });
  return { lines, bands };
}
