/** One series of one experiment in typed arrays that grow; epochs rise strictly. */

export class Curve {
  epochs: Int32Array;
  values: Float64Array;
  n: number;
  /** How many points the log holds; more than `n` where the server decimated. */
  total: number;

  constructor(
    epochs: Int32Array = new Int32Array(0),
    values: Float64Array = new Float64Array(0),
    total = epochs.length,
  ) {
    this.epochs = epochs;
    this.values = values;
    this.n = epochs.length;
    this.total = total;
  }

  get lastEpoch(): number {
    return this.n ? this.epochs[this.n - 1]! : -1;
  }

  /** Take in one point; the first value of an epoch wins, as in the log's projection. Return whether it was taken. */
  add(epoch: number, value: number): boolean {
    let at = this.n;
    if (epoch <= this.lastEpoch) {
      at = lowerBound(this.epochs, this.n, epoch);
      if (this.epochs[at] === epoch) return false;
      if (this.total > this.n) return false; // between decimated points: it is one of those left out
    }
    if (this.n === this.epochs.length) {
      const size = Math.max(16, this.n * 2);
      const epochs = new Int32Array(size);
      const values = new Float64Array(size);
      epochs.set(this.epochs);
      values.set(this.values);
      this.epochs = epochs;
      this.values = values;
    }
    this.epochs.copyWithin(at + 1, at, this.n);
    this.values.copyWithin(at + 1, at, this.n);
    this.epochs[at] = epoch;
    this.values[at] = value;
    this.n++;
    this.total++;
    return true;
  }

  /** The value at an epoch, NaN where there is none. */
  at(epoch: number): number {
    const i = lowerBound(this.epochs, this.n, epoch);
    return i < this.n && this.epochs[i] === epoch ? this.values[i]! : NaN;
  }
}

/** The first index whose value is not less than `wanted`. */
export function lowerBound(values: ArrayLike<number>, n: number, wanted: number): number {
  let low = 0;
  let high = n;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
