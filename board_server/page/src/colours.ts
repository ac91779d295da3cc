/** Colours that stay with an experiment's id and can be told apart by colour-blind eyes (Okabe and Ito, 2008). */

export type Rgb = readonly [number, number, number];

const HUES: readonly Rgb[] = [
  [0, 114, 178],
  [213, 94, 0],
  [0, 158, 115],
  [204, 121, 167],
  [230, 159, 0],
  [86, 180, 233],
  [120, 94, 240],
];

const mix = (a: Rgb, b: Rgb, share: number): Rgb =>
  [0, 1, 2].map((i) => Math.round(a[i]! + (b[i]! - a[i]!) * share)) as unknown as Rgb;

/** Seven hues in three lightnesses, then again: 21 ids in a row differ. */
export function colourOf(id: number, dark: boolean): Rgb {
  const hue = HUES[id % HUES.length]!;
  const tone = Math.floor(id / HUES.length) % 3;
  const towards: Rgb = tone === 2 ? [0, 0, 0] : [255, 255, 255];
  const share = (tone === 0 ? 0 : tone === 1 ? 0.35 : 0.3) as number;
  const base = mix(hue, towards, share);
  return dark ? mix(base, [255, 255, 255], 0.22) : base;
}

export const css = (rgb: Rgb, alpha = 1) =>
  alpha === 1 ? `rgb(${rgb.join(" ")})` : `rgb(${rgb.join(" ")} / ${alpha})`;

/** From blue over grey to orange, for a share of 0 to 1: a scale whose ends everybody tells apart. */
export function scaleColour(share: number, dark: boolean): Rgb {
  const middle: Rgb = dark ? [120, 124, 132] : [176, 180, 188];
  return share < 0.5 ? mix([30, 110, 200], middle, share * 2) : mix(middle, [224, 110, 20], share * 2 - 1);
}
