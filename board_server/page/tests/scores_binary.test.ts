import { describe, expect, it } from "vitest";
import { decodeScores } from "../src/scores_binary";

/** Write an answer by the contract's words: magic, length, padded header, columns. */
function answer(header: object, data: ArrayBuffer): ArrayBuffer {
  let text = JSON.stringify(header);
  while ((8 + text.length) % 8) text += " ";
  const bytes = new Uint8Array(8 + text.length + data.byteLength);
  bytes.set([77, 76, 71, 49]);
  new DataView(bytes.buffer).setUint32(4, text.length, true);
  bytes.set(new TextEncoder().encode(text), 8);
  bytes.set(new Uint8Array(data), 8 + text.length);
  return bytes.buffer;
}

const data = new ArrayBuffer(64);
const out = new DataView(data);
[0.5, NaN, 0.75].forEach((value, i) => void out.setFloat64(i * 8, value, true));
[1, 9].forEach((value, i) => void out.setInt32(24 + i * 4, value, true));
[-1, Infinity].forEach((value, i) => void out.setFloat64(32 + i * 8, value, true));
out.setFloat64(48, 1.79e12, true);
out.setFloat64(56, 2.5, true);

const header = {
  grid_search_id: "r",
  event_id: 41,
  names: ["val/f1", "loss"],
  series: {
    experiment_id: [7, 8, 9],
    name: [0, 1, 1],
    total: [3, 500, 0],
    shown: [3, 2, 0],
    last_epoch: [7, 510, null],
    first_epoch: [5, null, null],
    epochs_offset: [null, 24, 0],
    scores_offset: [0, 32, 0],
  },
  times: {
    experiment_id: [7],
    shown: [1],
    first_epoch: [5],
    epochs_offset: [null],
    time_offset: [48],
    seconds_offset: [56],
  },
};

describe("decodeScores", () => {
  it("reads consecutive and explicit epochs, NaN, infinity, empty series and times", () => {
    const { eventId, scores, times, seconds } = decodeScores(answer(header, data));
    expect(eventId).toBe(41);
    const f1 = scores.get("val/f1")!.get(7)!;
    expect([...f1.epochs]).toEqual([5, 6, 7]);
    expect([...f1.values]).toEqual([0.5, NaN, 0.75]);
    const loss = scores.get("loss")!.get(8)!;
    expect([...loss.epochs]).toEqual([1, 9]);
    expect([...loss.values]).toEqual([-1, Infinity]);
    expect([loss.n, loss.total]).toEqual([2, 500]);
    expect(scores.get("loss")!.get(9)!.n).toBe(0);
    expect([times.get(7)!.at(5), seconds.get(7)!.at(5)]).toEqual([1.79e12, 2.5]);
  });
  it("knows of every third epoch which the log's last one is", () => {
    const loss = decodeScores(answer(header, data), 3).scores.get("loss")!.get(8)!;
    loss.add(509, 1);
    expect(loss.total).toBe(500);
    loss.add(511, 1);
    expect([loss.n, loss.total]).toEqual([2, 501]);
  });
  it("refuses anything else", () => {
    expect(() => decodeScores(new TextEncoder().encode('{"error": "no"}').buffer as ArrayBuffer)).toThrow(
      "MLG1",
    );
    expect(() => decodeScores(new ArrayBuffer(3))).toThrow("MLG1");
  });
});
