/** One run in the browser: loaded once, then kept up to date by the events that follow. No polling. */

import { batch, signal } from "@preact/signals";
import type { Curve } from "./curve";
import { type Connection, LiveSocket } from "./live";
import { applyEvent, fromDetail, mergeCurves, type Run } from "./run_state";
import { decodeScores } from "./scores_binary";
import {
  type ExperimentRow,
  encode,
  type Frame,
  getJson,
  type Numbered,
  RequestError,
  type RunDetail,
  request,
} from "./wire";

const QUIET_MS = 10_000; // a run that says nothing for so long may have lost its writer
const RETRY_MS = 5000; // after an answer that failed
const UPDATE_MS = 250; // four updates a second are as much as an eye follows
/** Up to so many points a score is loaded whole; above, it is decimated, and said so. */
export const limits = { points: 2_000_000 };

export const connection = signal<{ state: Connection; retryAt: number | null }>({
  state: "connecting",
  retryAt: null,
});

/** Events a second over the last minutes, for the throughput board. */
export interface Pulse {
  second: number;
  events: number;
  bytes: number;
  delay: number;
  examplesPerSecond: number[];
}

export class RunStore {
  readonly id: string;
  readonly version = signal(0);
  readonly error = signal<RequestError | Error | null>(null);
  readonly loaded = signal(false);
  readonly loading = signal(0);
  readonly pulses: Pulse[] = [];
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

  constructor(id: string) {
    this.id = id;
    void this.load();
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
      const experiments = (await rows.json()) as ExperimentRow[];
      if (this.closed) return;
      // The older of the two heads: what the other knew already is applied again, which changes nothing.
      const head = Math.min(Number(rows.headers.get("X-Event-Id") ?? detail.event_id), detail.event_id);
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
      const status = error instanceof RequestError ? error.status : -1;
      if (status === 0 || status === 404)
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
      diagnose: async () => {
        try {
          await getJson(this.path);
          return "retry";
        } catch (error) {
          const status = (error as RequestError).status;
          return status === 401 || status === 403 ? "denied" : status === 404 ? "gone" : "retry";
        }
      },
    });
  }

  private take(frame: Frame, bytes: number): void {
    if (frame.event_id === "batched_events") {
      const head = frame.last_event_id;
      if (head !== undefined && head < this.run.eventId) {
        location.reload(); // made anew, too
        return;
      }
      this.count(frame.data, bytes, frame.data.length > 1);
      for (const { event_id, data } of frame.data) applyEvent(this.run, event_id, data);
    } else {
      this.count([frame], bytes, false);
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

  private count(events: Numbered[], bytes: number, replayed: boolean): void {
    if (!events.length) return;
    const second = Math.floor(Date.now() / 1000);
    let pulse = this.pulses.at(-1);
    if (pulse?.second !== second) {
      pulse = { second, events: 0, bytes: 0, delay: 0, examplesPerSecond: [] };
      this.pulses.push(pulse);
      if (this.pulses.length > 600) this.pulses.shift();
    }
    pulse.events += events.length;
    pulse.bytes += bytes;
    if (!replayed) pulse.delay = Math.max(pulse.delay, Date.now() - events.at(-1)!.data.creation_ts);
    for (const { data } of events) {
      const seconds = data.event_type === "evaluation_result" ? Number(data.payload.seconds) : 0;
      const examples = seconds > 0 ? this.numExamples().get(Number(data.payload.experiment_id)) : 0;
      if (examples) pulse.examplesPerSecond.push(examples / seconds);
    }
  }

  /** Training examples an epoch of each experiment, as its group's program says. */
  numExamples(): Map<number, number> {
    const { groups } = this.run;
    if (this.examples?.groups !== groups.length) {
      const pairs = groups.flatMap(({ experiments, num_examples: n }) =>
        experiments.map((id): [number, number] => [id, n ?? 0]),
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

  /** Ask for whole curves of a score (or "times"); they are there, and kept up to date, from a later version on. */
  need(name: string): void {
    if (this.asked.has(name)) return;
    this.asked.add(name);
    this.wanted.add(name);
    clearTimeout(this.wantTimer);
    this.wantTimer = window.setTimeout(() => void this.fetchWanted(), 0);
  }

  private async fetchWanted(): Promise<void> {
    const names = [...this.wanted];
    this.wanted = new Set();
    const scores = names.filter((name) => name !== TIMES);
    const { run } = this;
    // From here on, live points go to these empty curves; the answer is put beneath them.
    const newer = new Map(names.map((name) => [name, new Map<number, Curve>()]));
    for (const name of scores) run.curves.set(name, newer.get(name)!);
    if (newer.has(TIMES)) run.times = newer.get(TIMES)!;
    const cursor = run.eventId;
    const count = Math.max(1, run.experiments.size);
    const epochs = [...run.experiments.values()].reduce((most, e) => Math.max(most, e.epochs), 0);
    const points = count * epochs > limits.points ? pointsEach(count) : 0;
    this.loading.value++;
    try {
      let decoded: ReturnType<typeof decodeScores>;
      do {
        const query = `${nameQuery(scores)}&format=binary&points=${points}`;
        const response = await request(
          `${this.path}/scores?${query}${newer.has(TIMES) ? "&columns=time" : ""}`,
        );
        decoded = decodeScores(await response.arrayBuffer());
      } while (decoded.eventId < cursor); // what was applied before the request must be in the answer
      for (const name of scores) {
        const loaded = decoded.scores.get(name) ?? new Map<number, Curve>();
        mergeCurves(loaded, newer.get(name)!);
        run.curves.set(name, loaded);
      }
      if (newer.has(TIMES)) {
        run.times = decoded.times ?? new Map();
        mergeCurves(run.times, newer.get(TIMES)!);
      }
    } catch (error) {
      setTimeout(() => {
        for (const name of names) this.asked.delete(name); // asked again if a view still wants it
        this.version.value++;
      }, RETRY_MS);
      for (const name of scores) run.curves.delete(name);
      if (newer.has(TIMES)) run.times = null;
      if ((error as RequestError).status !== 0) this.error.value = error as Error;
    } finally {
      this.loading.value--;
      this.version.value++;
    }
  }

  /** The detail behind a zoom, for charts whose curves the server decimated. */
  async detail(
    name: string,
    from: number,
    to: number,
    points: number,
    signal: AbortSignal,
  ): Promise<Map<number, Curve>> {
    const epochs = `${Math.max(0, Math.floor(from))}-${Math.ceil(to)}`;
    const query = `${nameQuery([name])}&format=binary&epochs=${epochs}&points=${points}`;
    const response = await request(`${this.path}/scores?${query}`, { signal });
    return decodeScores(await response.arrayBuffer()).scores.get(name) ?? new Map();
  }
}

/** How many points of each of so many experiments. */
export const pointsEach = (count: number) => Math.max(200, Math.floor(limits.points / Math.max(1, count)));

export const TIMES = "(times)"; // no score is called so: a score's name has a split before "/"

/** Exactly these names; an empty one, which no score has, for none. */
export function nameQuery(names: readonly string[]): string {
  return (names.length ? names : [""]).map((name) => `name=${encode(name)}`).join("&");
}
