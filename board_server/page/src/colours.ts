/** Colours that stay with an experiment's id, as far as those beside it allow, and can be told apart by colour-blind eyes (Okabe and Ito, 2008). */

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

const DISTINCT = 21;

/** Seven hues in three lightnesses; then again, in lightnesses between. */
export function colourOf(place: number, dark: boolean): Rgb {
  const hue = HUES[place % HUES.length]!;
  const tone = Math.floor(place / HUES.length) % 3;
  const round = Math.floor(place / DISTINCT);
  const towards: Rgb = tone === 2 ? [0, 0, 0] : [255, 255, 255];
  const share = Math.abs([0, 0.35, 0.3][tone]! + (round && ((round * 0.618) % 1) * 0.24 - 0.12));
  const base = mix(hue, towards, share);
  return dark ? mix(base, [255, 255, 255], 0.22) : base;
}

/**
 * Places for experiments that are seen together: an id's own (of 21), where that is free. Those that are compared (the
 * picked ones, else all that are shown, where they are few) take another one where it is not, the others another lightness.
 */
export function coloursOf(shown: readonly number[], picked: readonly number[]): (id: number) => number {
  const places = new Map<number, number>();
  const taken = new Set<number>();
  const take = (id: number, place: number) => {
    taken.add(place);
    places.set(id, place);
  };
  const here = new Set(shown);
  const some = picked.filter((id) => here.has(id));
  const compared = some.length ? some : shown.length <= DISTINCT ? shown : [];
  const byId = (ids: readonly number[]) => [...ids].sort((a, b) => a - b);
  const late: number[] = [];
  for (const id of byId(compared)) {
    const own = id % DISTINCT;
    if (taken.has(own)) late.push(id);
    else take(id, own);
  }
  for (const id of late) {
    let place = id % DISTINCT;
    for (let i = 0; i < DISTINCT && taken.has(place); i++) place = (place + 1) % DISTINCT;
    while (taken.has(place)) place += DISTINCT;
    take(id, place);
  }
  const next = new Map<number, number>(); // by an id's own place, so that thousands need no search
  for (const id of byId(shown)) {
    if (places.has(id)) continue;
    let place = next.get(id % DISTINCT) ?? id % DISTINCT;
    while (taken.has(place)) place += DISTINCT;
    next.set(id % DISTINCT, place + DISTINCT);
    take(id, place);
  }
  return (id) => places.get(id) ?? id;
}

export const css = (rgb: Rgb, alpha = 1) =>
  alpha === 1 ? `rgb(${rgb.join(" ")})` : `rgb(${rgb.join(" ")} / ${alpha})`;

// Viridis (van der Walt and Smith, 2015): its lightness rises evenly, so that all eyes and greys order it alike.
const VIRIDIS: readonly Rgb[] = [
  [68, 1, 84],
  [71, 45, 123],
  [59, 82, 139],
  [44, 114, 142],
  [33, 145, 140],
  [40, 174, 128],
  [94, 201, 98],
  [173, 220, 48],
  [253, 231, 37],
];

/** For a share of 0 to 1: 1 stands out most, dark from a light ground and light from a dark one; 0 is still seen. */
export function sequentialColour(share: number, dark: boolean): Rgb {
  const place = (dark ? 0.2 + 0.8 * share : 0.82 * (1 - share)) * (VIRIDIS.length - 1);
  const i = Math.max(0, Math.min(VIRIDIS.length - 2, Math.floor(place)));
  return mix(VIRIDIS[i]!, VIRIDIS[i + 1]!, place - i);
}

/** From blue over grey to orange, for a share of 0 to 1: a scale whose ends everybody tells apart. */
export function scaleColour(share: number, dark: boolean): Rgb {
  const middle: Rgb = dark ? [120, 124, 132] : [176, 180, 188];
  return share < 0.5 ? mix([30, 110, 200], middle, share * 2) : mix(middle, [224, 110, 20], share * 2 - 1);
}

/** Black or white, whichever is read better on a colour (WCAG's relative luminance). */
export function inkOn(rgb: Rgb): string {
  const [r, g, b] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  return luminance > 0.179 ? "#000" : "#fff";
}
