/** Decode the binary answer of `grid_searches/<run>/scores` without copying its columns. */

import { Curve, Curves } from "./curve";

interface Columns {
  experiment_id: number[];
  shown: number[];
  first_epoch: (number | null)[];
  epochs_offset: (number | null)[];
}

interface Header {
  grid_search_id: string;
  event_id: number;
  names: string[];
  series: Columns & {
    name: number[];
    total: number[];
    last_epoch: (number | null)[];
    scores_offset: number[];
  };
  times?: (Columns & { time_offset: number[]; seconds_offset: number[] }) | null;
}

export interface Decoded {
  eventId: number;
  /** By the score's name. */
  scores: Map<string, Curves>;
  /** Unix milliseconds at each epoch, and seconds trained until then; empty when they were not asked for. */
  times: Curves;
  seconds: Curves;
}

/** Read the answer to a request for every `every`-th epoch. */
export function decodeScores(buffer: ArrayBuffer, every = 1): Decoded {
  const view = new DataView(buffer);
  const magic = buffer.byteLength < 8 ? "" : String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== "MLG1")
    throw new Error(`scores: the answer begins with ${JSON.stringify(magic)}, not with "MLG1"`);
  const length = view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as Header;
  const start = 8 + length;
  const { series, times } = header;
  const scores = new Map(header.names.map((name) => [name, new Curves(every)]));
  series.experiment_id.forEach((id, i) => {
    const [epochs, values] = columnsAt(buffer, start, series, i, series.scores_offset[i]!);
    const newest = series.last_epoch[i] ?? undefined;
    const curve = new Curve(epochs, values, series.total[i]!, every, newest);
    scores.get(header.names[series.name[i]!]!)!.set(id, curve);
  });
  const clocks = { times: new Curves(), seconds: new Curves() };
  times?.experiment_id.forEach((id, i) => {
    clocks.times.set(id, new Curve(...columnsAt(buffer, start, times, i, times.time_offset[i]!)));
    clocks.seconds.set(id, new Curve(...columnsAt(buffer, start, times, i, times.seconds_offset[i]!)));
  });
  return { eventId: header.event_id, scores, ...clocks };
}

function columnsAt(
  buffer: ArrayBuffer,
  start: number,
  columns: Columns,
  i: number,
  offset: number,
): [Int32Array, Float64Array] {
  const n = columns.shown[i]!;
  const first = columns.first_epoch[i];
  const at = columns.epochs_offset[i];
  let epochs: Int32Array;
  if (first !== null && first !== undefined) epochs = Int32Array.from({ length: n }, (_, k) => first + k);
  else epochs = n ? new Int32Array(buffer, start + (at ?? 0), n) : new Int32Array(0);
  return [epochs, n ? new Float64Array(buffer, start + offset, n) : new Float64Array(0)];
}
