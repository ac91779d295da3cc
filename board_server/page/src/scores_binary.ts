/** Decode the binary answer of `grid_searches/<run>/scores` without copying its columns. */

import { Curve } from "./curve";

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
  series: Columns & { name: number[]; total: number[]; scores_offset: number[] };
  times?: (Columns & { time_offset: number[] }) | null;
}

export interface Decoded {
  eventId: number;
  /** score name -> experiment id -> curve */
  scores: Map<string, Map<number, Curve>>;
  /** experiment id -> unix milliseconds at each epoch; null when they were not asked for */
  times: Map<number, Curve> | null;
}

export function decodeScores(buffer: ArrayBuffer): Decoded {
  const view = new DataView(buffer);
  const magic = buffer.byteLength < 8 ? "" : String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== "MLG1")
    throw new Error(`scores: the answer begins with ${JSON.stringify(magic)}, not with "MLG1"`);
  const length = view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as Header;
  const start = 8 + length;
  const { series, times } = header;
  const scores = new Map<string, Map<number, Curve>>(header.names.map((name) => [name, new Map()]));
  series.experiment_id.forEach((id, i) => {
    const curve = curveAt(buffer, start, series, i, series.scores_offset[i]!, series.total[i]!);
    scores.get(header.names[series.name[i]!]!)!.set(id, curve);
  });
  let clock: Map<number, Curve> | null = null;
  if (times) {
    clock = new Map();
    times.experiment_id.forEach((id, i) => {
      clock!.set(id, curveAt(buffer, start, times, i, times.time_offset[i]!, times.shown[i]!));
    });
  }
  return { eventId: header.event_id, scores, times: clock };
}

function curveAt(
  buffer: ArrayBuffer,
  start: number,
  columns: Columns,
  i: number,
  offset: number,
  total: number,
): Curve {
  const n = columns.shown[i]!;
  const first = columns.first_epoch[i];
  const at = columns.epochs_offset[i];
  let epochs: Int32Array;
  if (first !== null && first !== undefined) epochs = Int32Array.from({ length: n }, (_, k) => first + k);
  else epochs = n ? new Int32Array(buffer, start + (at ?? 0), n) : new Int32Array(0);
  const values = n ? new Float64Array(buffer, start + offset, n) : new Float64Array(0);
  return new Curve(epochs, values, total);
}
