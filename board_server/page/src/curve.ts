/** One series of one experiment in typed arrays that grow; epochs rise strictly. */

export class Curve {
  epochs: Int32Array;
  values: Float64Array;
  n: number;
  /** How many points the log holds; more than `n` where the server decimated. */
  total: number;
  /** Only epochs that are multiples of it are kept; the others are counted. */
  private readonly every: number;
  /** The newest epoch that is counted. */
  private newest: number;

  constructor(
    epochs: Int32Array = new Int32Array(0),
    values: Float64Array = new Float64Array(0),
    total = epochs.length,
    every = 1,
    newest = epochs.at(-1) ?? -1,
  ) {
    this.epochs = epochs;
    this.values = values;
    this.n = epochs.length;
    this.total = total;
    this.every = every;
    this.newest = newest;
  }

  get lastEpoch(): number {
    return this.n ? this.epochs[this.n - 1]! : -1;
  }

  /** Take in one point; the first value of an epoch wins, as in the log's projection. Return whether it was taken. */
  add(epoch: number, value: number): boolean {
    if (epoch % this.every) {
      if (epoch > this.newest) this.total++;
      this.newest = Math.max(epoch, this.newest);
      return false;
    }
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
    this.newest = Math.max(epoch, this.newest);
    return true;
  }

  /** Of a running sum: put in an epoch that comes late, by which all that follows grows. */
  insertPart(epoch: number, amount: number): void {
    const at = lowerBound(this.epochs, this.n, epoch);
    if (!this.add(epoch, (at ? this.values[at - 1]! : 0) + amount)) return;
    for (let i = at + 1; i < this.n; i++) this.values[i]! += amount;
  }

  /** The value at an epoch, NaN where there is none. */
  at(epoch: number): number {
    const i = lowerBound(this.epochs, this.n, epoch);
    return i < this.n && this.epochs[i] === epoch ? this.values[i]! : NaN;
  }
}

/** One curve an experiment, by its id; of each only epochs that are multiples of `every` are kept. */
export class Curves extends Map<number, Curve> {
  readonly every: number;

  constructor(every = 1) {
    super();
    this.every = every;
  }

  /** The curve of an experiment, made if there is none yet. */
  of(id: number): Curve {
    let curve = this.get(id);
    if (!curve) {
      curve = new Curve(undefined, undefined, undefined, this.every);
      this.set(id, curve);
    }
    return curve;
  }

  /** Take in the points of `newer` that are missing here. */
  merge(newer: ReadonlyMap<number, Curve>): void {
    for (const [id, curve] of newer) {
      const target = this.of(id);
      for (let i = 0; i < curve.n; i++) target.add(curve.epochs[i]!, curve.values[i]!);
    }
  }

  /** Whether the server left points out. */
  get isThinned(): boolean {
    for (const curve of this.values()) if (curve.total > curve.n) return true;
    return false;
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
