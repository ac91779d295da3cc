/** What a chart shows, and how. */

import type { BandShape } from "./line_layer";
import type { Line } from "./raster";

export interface PlotModel {
  lines: readonly Line[];
  bands: readonly BandShape[];
  logx: boolean;
  logy: boolean;
  /** Outliers do not stretch y. */
  cut: boolean;
  /** y begins at 0: amounts, which are compared by their height. */
  fromZero?: boolean;
  xKind: "epoch" | "step" | "time";
  zoom: readonly [number, number] | null;
  /** The part of y that is shown; left out: all of it. */
  yZoom?: readonly [number, number] | null;
  chosen: ReadonlySet<number>;
  dark: boolean;
  label: (id: number) => string;
}
