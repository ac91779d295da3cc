/** What an axis makes of a value before it is placed: itself, its logarithm, or the logarithm on both sides of 0. */

export interface Scaling {
  readonly log: boolean;
  /** Of a symmetric logarithm: about so far on both sides of 0 values stand as on a linear axis. */
  readonly linear?: number | undefined;
  /** The ends of an axis, where there is one. */
  readonly min?: number;
  readonly max?: number;
}

/** What values between two ends are multiplied by, a power of two, so that the distance of these is finite. */
export const unitOf = (min = 0, max = 0): number => (max - min < Infinity ? 1 : 0.25);

/** sign(v) ln(1 + |v| / c): linear near 0, a logarithm far from it (Webber, 2013). */
export const symlog = (value: number, c: number): number =>
  value < 0 ? -Math.log1p(-value / c) : Math.log1p(value / c);

export function forward({ log, linear, min, max }: Scaling): (value: number) => number {
  const unit = unitOf(min, max);
  return log ? Math.log : linear ? (value) => symlog(value, linear) : (value) => value * unit;
}

/** What is beyond all numbers is the last of them. */
export const finite = (value: number): number =>
  Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value));

export function backward({ log, linear, min, max }: Scaling): (place: number) => number {
  if (log) return (place) => finite(Math.exp(place));
  const unit = unitOf(min, max);
  if (!linear) return (place) => finite(place / unit);
  return (place) => finite((place < 0 ? -1 : 1) * linear * Math.expm1(Math.abs(place)));
}

const SMALL = 0.05; // of the values that are not 0, so many lie within the linear part

/** The power of ten up to which values near 0 stand as on a linear axis; 1 where all are 0. */
export function linearPart(values: number[]): number {
  const sizes = values.map(Math.abs).filter((size) => size > 0 && size < Infinity);
  if (!sizes.length) return 1;
  sizes.sort((a, b) => a - b);
  const small = sizes[Math.floor(SMALL * (sizes.length - 1))]!;
  return Number(`1e${Math.max(-300, Math.floor(Math.log10(small) + 1e-9))}`);
}
