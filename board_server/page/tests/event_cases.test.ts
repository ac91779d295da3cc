/**
 * The reducer against the board's answers (tests/event_states.jsonl, which Python verifies) after every event of
 * tests/event_cases.jsonl: a page that was kept up to date is the page that is loaded now, in every field.
 */

import { afterAll, beforeEach, describe, expect, it, vi } from "vitest";
import cases from "../../../tests/event_cases.jsonl?raw";
import states from "../../../tests/event_states.jsonl?raw";
import { Curves } from "../src/curve";
import { type JsonObject, toNumber } from "../src/json";
import { applyEvent } from "../src/reducer";
import { fromDetail, type Run } from "../src/run_state";
import type { ExperimentRow, LogEvent, RunDetail, Score } from "../src/wire";

type Answers = { [who: string]: JsonObject };
interface Line {
  run: string;
  changed?: Answers;
  curves?: [name: string, experiment: number, epochs: number[], scores: Score[]][];
  times?: [experiment: number, epochs: number[], ms: number[], seconds: Score[]][];
}

const lines = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
const events = lines(cases) as { run: string; why?: string; event: LogEvent }[];
const expected = lines(states) as Line[];
const runs = [...new Set(events.map(({ run }) => run))];

const logOf = (id: string) => events.filter(({ run }) => run === id);
/** The board's answers before the first and after each event. */
const answersOf = (id: string) => {
  const all: Answers[] = [NOTHING];
  for (const { changed } of expected.filter((one) => one.run === id && one.changed)) {
    const next = { ...all.at(-1)! };
    for (const [who, fields] of Object.entries(changed!)) next[who] = { ...next[who], ...fields };
    all.push(next);
  }
  return all;
};
const NOTHING: Answers = {
  run: {
    ...{
      name: null,
      status: "INIT",
      started_ms: null,
      finished_ms: null,
      num_experiments: null,
      config: null,
    },
    ...{ config_hash: null, groups: [], speeds: [], scores: [], monitor: null, mode: "max", mismatches: [] },
    num_malformed: 0,
  },
};

/** A page that is loaded when the board has seen `head` events of the run, and `rowsHead` in the rows. */
function loaded(id: string, all: Answers[], head: number, rowsHead = head): Run {
  const detail = { ...all[head]!.run, grid_search_id: id, event_id: head - 1 } as unknown as RunDetail;
  const rows = Object.entries(all[rowsHead]!)
    .filter(([who]) => who !== "run")
    .map(([who, row]) => ({ ...row, experiment_id: Number(who) }) as unknown as ExperimentRow);
  return fromDetail(structuredClone(detail), structuredClone(rows), rowsHead - 1);
}

/** Sums of floats end in other digits in Python 3.11, in Python 3.12 and here. */
const summed = (seconds: number) => (Number.isFinite(seconds) ? Number(seconds.toFixed(9)) : NaN);

/** Everything that is known of a run but how it came to be known. */
function comparable({ heads: _, ...run }: Run, withCheckpoints = true) {
  const experiments = [...run.experiments.values()].map((experiment) => ({
    ...experiment,
    seconds: summed(experiment.seconds),
    checkpoint: withCheckpoints ? experiment.checkpoint : null,
  }));
  return { ...run, experiments: experiments.sort((a, b) => a.id - b.id) };
}

const warn = vi.spyOn(console, "warn");
beforeEach(() => void warn.mockReset().mockImplementation(() => {}));
afterAll(() => warn.mockRestore());

describe.each(runs)("the log %s", (id) => {
  const log = logOf(id);
  const all = answersOf(id);

  it("makes after each event the state that the board answers", () => {
    const run = loaded(id, all, 0);
    let isOnDisk = true;
    log.forEach(({ event, why }, i) => {
      const what = `${i} ${event.event_type} ${why ?? ""}`;
      applyEvent(run, i, event);
      // To which step a group falls back when its newest is damaged only the disk says, until it writes the next one.
      if (event.event_type === "checkpoint_skipped") isOnDisk = false;
      if (event.event_type === "checkpoint_saved") isOnDisk = true;
      expect(comparable(run, isOnDisk), what).toEqual(comparable(loaded(id, all, i + 1), isOnDisk));
      expect(warn.mock.calls.length, what).toBe(all[i + 1]!.run!.num_malformed);
    });
  });

  it("goes on from whatever the board answered meanwhile, also where one of two answers is older", () => {
    const end = log.length;
    const last = comparable(loaded(id, all, end));
    for (let head = 0; head <= end; head++)
      for (const rowsHead of [head - 7, head - 1, head, head + 1, head + 7]) {
        if (rowsHead < 0 || rowsHead > end) continue;
        const run = loaded(id, all, head, rowsHead);
        log.forEach(({ event }, i) => void applyEvent(run, i, event));
        expect(comparable(run), `the run at ${head}, its rows at ${rowsHead}`).toEqual(last);
      }
  });

  it("draws the curves that the board answers at the end", () => {
    const { curves, times } = expected.find((one) => one.run === id && one.curves)!;
    const run = loaded(id, all, 0);
    for (const [name] of curves!) run.curves.set(name, new Curves());
    [run.times, run.seconds] = [new Curves(), new Curves()];
    log.forEach(({ event }, i) => void applyEvent(run, i, event));
    const shown = (all: Curves, id: number) => {
      const { epochs, values, n } = all.of(id);
      return [[...epochs.subarray(0, n)], [...values.subarray(0, n)]];
    };
    for (const [name, id, epochs, scores] of curves!)
      expect(shown(run.curves.get(name)!, id), `${name} ${id}`).toEqual([epochs, scores.map(toNumber)]);
    for (const [id, epochs, ms, seconds] of times!) {
      expect(shown(run.times, id), `times of ${id}`).toEqual([epochs, ms]);
      expect(shown(run.seconds, id)[1]!.map(summed), `seconds of ${id}`).toEqual(
        seconds.map((value) => summed(toNumber(value))),
      );
    }
    const numCurves = [...run.curves.values()].flatMap((one) => [...one.values()]).length;
    expect(numCurves).toBe(curves!.length);
  });
});
