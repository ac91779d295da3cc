/** What a chart shows, and how. */

import type { ColourKey } from "./colouring";
import type { BandShape } from "./line_layer";
import type { Line } from "./raster";
import type { X } from "./view_state";

export interface PlotModel {
  lines: readonly Line[];
  bands: readonly BandShape[];
  logx: boolean;
  logy: boolean;
  /** y is a logarithm on both sides of 0, in place of `logy`. */
  symlog?: boolean;
  /** Outliers do not stretch y; `auto`: where they would. */
  cut: boolean | "auto";
  /** y begins at 0: amounts, which are compared by their height. */
  fromZero?: boolean;
  /** Its name; where it is no score and none of these, numbers. */
  xKind: X | (string & {});
  zoom: readonly [number, number] | null;
  /** The part of y that is shown; left out: all of it. */
  yZoom?: readonly [number, number] | null;
  chosen: ReadonlySet<number>;
  /** What was made of the logged values, for whoever sees the chart without its controls. */
  note?: string;
  /** What the colours of its lines say; left out: whose they are. */
  colourKey?: ColourKey | null;
  dark: boolean;
  label: (id: number) => string;
}
