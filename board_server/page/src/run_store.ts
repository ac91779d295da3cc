/** One run in the browser: loaded once, then kept up to date by the events that follow. No polling. */

import { batch, signal } from "@preact/signals";
import { formatIds } from "./address";
import { Curves } from "./curve";
import { parseJson } from "./json";
import type { Lines } from "./lines";
import { type Connection, LiveSocket, verdictOf } from "./live";
import { addPulse, type Pulse } from "./pulses";
import { applyEvent } from "./reducer";
import { experimentsOf, fromDetail, type Run } from "./run_state";
import { isSaved } from "./saved";
import { type Decoded, decodeScores } from "./scores_binary";
import {
  type ExperimentRow,
  encode,
  type Frame,
  getJson,
  type RequestError,
  type RunDetail,
  request,
} from "./wire";

const QUIET_MS = 10_000; // a run that says nothing for so long may have lost its writer
const RETRY_MS = 5000; // after an answer that failed
const UPDATE_MS = 250; // four updates a second are as much as an eye follows
const MAX_RANGES = 1000; // of ids, in a request …
const MAX_ADDRESS = 12_000; // … whose head is read up to 16 KiB
/** Up to so many points a score is loaded whole; above, it is decimated, and said so. */
export const limits = { points: isSaved ? Infinity : 2_000_000 };

export const connection = signal<{ state: Connection; retryAt: number | null }>({
  state: "connecting",
  retryAt: null,
});

export class RunStore {
  readonly id: string;
  readonly version = signal(0);
  readonly error = signal<RequestError | Error | null>(null);
  readonly loaded = signal(false);
  readonly loading = signal(0);
  readonly pulses: Pulse[] = [];
  /** What the chart of each score draws, for whoever compares it with the log. */
  readonly drawn = new Map<string, Lines>();
  run!: Run;
  private socket: LiveSocket | null = null;
  private timer = 0;
  private quiet = 0;
  private examples: { groups: number; of: Map<number, number> } | null = null;
  private lastUpdate = 0;
  private readonly asked = new Set<string>();
  private wanted = new Set<string>();
  private wantTimer = 0;
  private closed = false;
  /** Among how many runs that are shown as one the points are divided that may be loaded. */
  private readonly among: number;
  /** It is loaded, or cannot be for now. */
  readonly settled: Promise<void>;

  constructor(id: string, among = 1) {
    this.id = id;
    this.among = among;
    connection.value = { state: "connecting", retryAt: null };
    this.settled = this.load();
  }

  private get path(): string {
    return `grid_searches/${encode(this.id)}`;
  }

  retry = (): void => {
    this.error.value = null;
    if (this.loaded.value) this.socket?.retryNow();
    else void this.load();
  };

  close(): void {
    this.closed = true;
    this.socket?.close();
    clearTimeout(this.timer);
    clearTimeout(this.quiet);
  }

  private async load(): Promise<void> {
    try {
      const [detail, rows] = await Promise.all([
        getJson<RunDetail>(this.path),
        request(`${this.path}/experiments?config=0`),
      ]);
      const experiments = parseJson(await rows.text()) as ExperimentRow[];
      if (this.closed) return;
      const head = Number(rows.headers.get("X-Event-Id") ?? detail.event_id);
      this.run = fromDetail(detail, experiments, head);
      batch(() => {
        this.loaded.value = true;
        this.error.value = null;
        this.version.value++;
      });
      this.connect();
    } catch (error) {
      if (this.closed) return;
      this.error.value = error as Error;
      const { status } = error as RequestError;
      const state = verdictOf({ status });
      connection.value = { state: state === "retry" ? "offline" : state, retryAt: null };
      if (status === 0 || state === "gone")
        setTimeout(() => !this.closed && this.load(), status ? RETRY_MS : 2000);
    }
  }

  private connect(): void {
    this.socket = new LiveSocket({
      path: () => `ws/subscribe?grid_search_id=${encode(this.id)}&after=${this.run.eventId}`,
      onFrame: (frame, bytes) => this.take(frame as Frame, bytes),
      onReplaced: () => location.reload(), // the run was made anew under the same id: nothing known of it holds
      onState: (state, retryMs) => {
        connection.value = { state, retryAt: retryMs === null ? null : Date.now() + retryMs };
      },
      diagnose: () => getJson(this.path).then(() => "answers", verdictOf),
    });
  }

  private take(frame: Frame, bytes: number): void {
    if (frame.event_id === "batched_events") {
      const head = frame.last_event_id;
      if (head !== undefined && head < this.run.eventId) {
        location.reload(); // made anew, too
        return;
      }
      addPulse(this.pulses, this.numExamples(), frame.data, bytes, frame.data.length > 1);
      for (const { event_id, data } of frame.data) applyEvent(this.run, event_id, data);
    } else {
      addPulse(this.pulses, this.numExamples(), [frame], bytes, false);
      applyEvent(this.run, frame.event_id, frame.data);
    }
    if (this.run.status === "LOST" && frame.event_id !== "batched_events") this.run.status = "RUNNING"; // it was resumed
    this.listenForSilence();
    this.changed();
  }

  /** Events cannot tell that no more will come: ask once when a running run has been quiet, then ever more rarely. */
  private listenForSilence(wait = QUIET_MS): void {
    clearTimeout(this.quiet);
    if (this.closed || this.run.status !== "RUNNING") return;
    this.quiet = window.setTimeout(async () => {
      try {
        const { status } = await getJson<RunDetail>(this.path);
        if (status === "LOST") this.run.status = status;
        this.changed();
      } catch {
        // the connection's state says so already
      }
      this.listenForSilence(wait * 2);
    }, wait);
  }

  /** Training examples an epoch of each experiment, as its group's program says. */
  numExamples(): Map<number, number> {
    const { groups } = this.run;
    if (this.examples?.groups !== groups.length) {
      const pairs = groups.flatMap((group) =>
        experimentsOf(group).map((id): [number, number] => [id, group.num_examples ?? 0]),
      );
      this.examples = { groups: groups.length, of: new Map(pairs) };
    }
    return this.examples.of;
  }

  private changed(): void {
    if (this.timer) return;
    const wait = Math.max(0, this.lastUpdate + UPDATE_MS - performance.now());
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.lastUpdate = performance.now();
      this.version.value++;
    }, wait);
  }

  /**
   * Ask for the curves of a score (or TIMES); they are there, and kept up to date, from a later version on.
   * `grouped`: means will be taken over them.
   */
  need(name: string, grouped = false): void {
    const key = grouped && this.isOnGrid(name) ? GRID + name : name;
    if (this.asked.has(key)) return;
    this.asked.add(key);
    this.wanted.add(key);
    clearTimeout(this.wantTimer);
    this.wantTimer = window.setTimeout(() => {
      const keys = [...this.wanted];
      this.wanted = new Set();
      for (const grid of [true, false]) {
        const some = keys.filter((key) => key.startsWith(GRID) === grid);
        if (some.length) void this.fetchWanted(some, grid);
      }
    }, 0);
  }

  /** What `need` brought; undefined until it is there. */
  curvesOf(name: string, grouped: boolean): Curves | undefined {
    if (!grouped || !this.isOnGrid(name)) return this.run.curves.get(name);
    const grid = this.run.grids.get(name);
    return grid && grid.every > 1 ? grid : undefined;
  }

  // A mean over what was decimated would be one over whatever was kept: means are taken at every K-th epoch instead.
  private isOnGrid(name: string): boolean {
    return this.run.curves.get(name)?.isThinned ?? this.every > 1;
  }

  /** Every how many epochs so much of every curve is sent as may be loaded; 1: all. */
  private get every(): number {
    const every = Math.ceil(this.numEpochs / this.pointsEach(this.run.experiments.size)) || 1;
    return this.among > 1 ? 2 ** Math.ceil(Math.log2(every)) : every; // so that one run's is a multiple of another's
  }

  /** How many points of each of so many experiments. */
  private pointsEach(count: number): number {
    return pointsEach(count * this.among);
  }

  /** How many were evaluated; their numbers may be steps, or far apart. */
  private get numEpochs(): number {
    return [...this.run.experiments.values()].reduce((most, { epochs }) => Math.max(most, epochs), 0);
  }

  private async fetchWanted(keys: string[], grid: boolean): Promise<void> {
    const { run, every } = this;
    const names = keys.filter((key) => key !== TIMES).map((key) => key.replace(GRID, ""));
    const withTimes = keys.includes(TIMES);
    const target = grid ? run.grids : run.curves;
    // From here on, live points go to these empty curves; the answer is put beneath them.
    const newer = names.map((name): [string, Curves] => [name, new Curves()]);
    for (const [name, curves] of newer) target.set(name, curves);
    const clocks = [new Curves(), new Curves()] as const;
    if (withTimes) [run.times, run.seconds] = clocks;
    const points = every > 1 && !grid ? this.pointsEach(run.experiments.size) : 0;
    this.loading.value++;
    try {
      const query = `${nameQuery(names)}&points=${points}${withTimes ? "&columns=time" : ""}`;
      const { scores, times, seconds } = await this.scores(query, grid ? every : 1);
      for (const [name, curves] of newer) {
        const loaded = scores.get(name) ?? new Curves(grid ? every : 1);
        loaded.merge(curves);
        target.set(name, loaded);
      }
      if (withTimes) {
        times.merge(clocks[0]);
        seconds.merge(clocks[1]);
        [run.times, run.seconds] = [times, seconds];
      }
    } catch (error) {
      setTimeout(() => {
        for (const key of keys) this.asked.delete(key); // asked again if a view still wants it
        this.version.value++;
      }, RETRY_MS);
      for (const name of names) target.delete(name);
      if (withTimes) run.times = run.seconds = null;
      if ((error as RequestError).status !== 0) this.error.value = error as Error;
    } finally {
      this.loading.value--;
      this.version.value++;
    }
  }

  private async scores(query: string, every: number, init?: RequestInit): Promise<Decoded> {
    const cursor = this.run.eventId;
    for (;;) {
      const path = `${this.path}/scores?${query}&format=binary${every > 1 ? `&every=${every}` : ""}`;
      const decoded = decodeScores(await (await request(path, init)).arrayBuffer(), every);
      if (decoded.eventId >= cursor) return decoded; // what was applied before the request must be in the answer
    }
  }

  /** What asks for these experiments alone; nothing where these are all, null where it is more than the server takes. */
  idsOf(ids: readonly number[]): string | null {
    const text = ids.length < this.run.experiments.size ? formatIds(ids) : "";
    return text.split(",").length > MAX_RANGES ? null : text;
  }

  /** Where a server writes a table of what was logged of a score by some experiments; null: nowhere. */
  tableOf(ids: readonly number[], name: string): string | null {
    const which = this.idsOf(ids);
    return which === null ? null : `${this.path}/scores?format=csv&${nameQuery([name])}&experiments=${which}`;
  }

  /**
   * The detail behind a zoom, of some experiments, for charts whose curves the server decimated; kept up to date until
   * `signal` ends it. `grouped`: means will be taken over it.
   */
  async detail(
    name: string,
    ids: readonly number[],
    range: readonly [number, number],
    grouped: boolean,
    signal: AbortSignal,
  ): Promise<Curves> {
    const { run } = this;
    const [from, to] = [Math.floor(range[0]), Math.ceil(range[1])].map((end) =>
      Math.max(0, Math.min(999_999_999, end)),
    ) as [number, number];
    const points = this.pointsEach(ids.length);
    const fitting = Math.max(1, Math.ceil(Math.min(to - from + 1, this.numEpochs) / points));
    const every = !grouped ? 1 : this.among > 1 ? 2 ** Math.ceil(Math.log2(fitting)) : fitting;
    const which = this.idsOf(ids);
    const query = `${nameQuery([name])}&epochs=${from}-${to}&points=${grouped ? 0 : points}${which ? `&experiments=${which}` : ""}`;
    const detail = { name, from, to, curves: new Curves() };
    run.details.add(detail);
    signal.addEventListener("abort", () => run.details.delete(detail));
    const { scores } = await this.scores(query, every, { signal });
    const loaded = scores.get(name) ?? new Curves(every);
    loaded.merge(detail.curves);
    detail.curves = loaded;
    return loaded;
  }
}

/** The same of several runs, of each all experiments or some. */
export function tableOfRuns(
  runs: readonly (readonly [id: string, experiments: string | null])[],
  name?: string,
): string | null {
  const parts = runs.map(([id, ids]) => `runs=${encode(id)}${ids && `:${ids}`}`);
  const address = `scores?${name === undefined ? "" : `${nameQuery([name])}&`}${parts.join("&")}`;
  return runs.every(([, ids]) => ids !== null) && address.length < MAX_ADDRESS ? address : null;
}

/** How many points of each of so many experiments. */
export const pointsEach = (count: number) => Math.max(200, Math.floor(limits.points / Math.max(1, count)));

const GRID = "(every) "; // no score's name begins so: it has a split before "/"
export const TIMES = "(times)"; // nor is one called so

/** Exactly these names; an empty one, which no score has, for none. */
export function nameQuery(names: readonly string[]): string {
  return (names.length ? names : [""]).map((name) => `name=${encode(name)}`).join("&");
}
