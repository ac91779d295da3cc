/**
 * Several runs as one, for views that were made for one: their experiments side by side, each under a number of the pool,
 * and with `run` as a hyperparameter.
 */

import { batch, effect, signal } from "@preact/signals";
import { Curve, Curves } from "./curve";
import { isObject, type Json, type JsonObject } from "./json";
import type { Lines } from "./lines";
import type { Experiment, Run } from "./run_state";
import { RunStore, tableOfRuns } from "./run_store";

const PLACES = 1_000_000; // for the experiments of one run
const MOST_FIXED = 24; // hyperparameters that no run sweeps, though they differ

/** Where experiments of the `place`-th run stand: the same as long as no run before it is left out. */
export const pooledId = (place: number, id: number) => (place + 1) * PLACES + id;

/** Which of them are of the `place`-th run, by its own numbers. */
const ownOf = (ids: readonly number[], place: number) =>
  ids.filter((id) => Math.floor(id / PLACES) === place + 1).map((id) => id % PLACES);

/** The value at a dotted path; undefined where there is none. */
export function valueAt(value: Json | undefined, path: string): Json | undefined {
  let found = value;
  for (const part of path.split("."))
    if (Array.isArray(found)) found = found[Number(part)];
    else if (isObject(found) && Object.hasOwn(found, part)) found = found[part];
    else return undefined;
  return found;
}

/** What a config fixes, as texts by their paths: no sweeps, nor what only says what is recorded. */
function leaves(value: Json, prefix = "", into = new Map<string, string>()): Map<string, string> {
  if (!isObject(value)) into.set(prefix, JSON.stringify(value));
  else if (!Object.hasOwn(value, "sweep"))
    for (const [name, inner] of Object.entries(value))
      if (prefix || !/^(name|metrics|checkpoint|evaluation)/.test(name))
        leaves(inner, prefix ? `${prefix}.${name}` : name, into);
  return into;
}

/** What configs fix at different values and nobody sweeps: as good as swept over the runs. */
export function fixedApart(configs: readonly JsonObject[], swept: readonly string[]): string[] {
  const all = configs.map((config) => leaves(config));
  const [first, ...others] = all;
  return [...(first?.keys() ?? [])]
    .filter((path) => others.every((one) => one.has(path)))
    .filter((path) => !swept.some((name) => path === name || path.startsWith(`${name}.`)))
    .filter((path) => others.some((one) => one.get(path) !== first!.get(path)))
    .slice(0, MOST_FIXED);
}

/** Every `every`-th epoch of a curve that has those. */
function thinned(curve: Curve, every: number): Curve {
  const kept = new Curve(undefined, undefined, undefined, every);
  for (let i = 0; i < curve.n; i++) kept.add(curve.epochs[i]!, curve.values[i]!);
  return kept;
}

export class Pool {
  readonly id: string;
  readonly version = signal(0);
  readonly error = signal<Error | null>(null);
  /** All of them are read, or cannot be. */
  readonly loaded = signal(false);
  readonly drawn = new Map<string, Lines>();
  readonly parts: RunStore[] = [];
  readonly run: Run;
  /** How many runs they are. */
  readonly size: number;
  private readonly known = new Map<RunStore, number>(); // what was gathered of each
  private names = "";
  private joined = new Map<string, { key: string; curves: Curves }>();
  private closed = false;
  private stop = () => {};

  constructor(ids: readonly string[]) {
    this.id = ids.join();
    this.size = ids.length;
    this.run = emptyRun(this.id);
    void this.load(ids);
  }

  get loading() {
    return { value: this.parts.reduce((sum, part) => sum + part.loading.value, 0) };
  }

  /** How far it is, and which runs cannot be read. */
  get says(): { read: number; of: number; missing: RunStore[] } {
    const read = this.parts.filter(({ loaded }) => loaded.value);
    const missing = this.parts.filter(({ loaded, error }) => !loaded.value && error.value);
    return { read: read.length, of: this.size, missing };
  }

  retry = (): void => {
    for (const part of this.parts) part.retry();
  };

  close(): void {
    this.closed = true;
    this.stop();
    for (const part of this.parts) part.close();
  }

  private async load(ids: readonly string[]): Promise<void> {
    // One after the other: a board that reads all logs at once answers none of them soon.
    for (const id of ids) {
      const part = new RunStore(id, ids.length);
      this.parts.push(part);
      await part.settled;
      if (this.closed) return part.close();
      this.version.value++;
    }
    this.stop = effect(() => {
      for (const part of this.parts) void [part.version.value, part.loaded.value, part.error.value];
      batch(() => this.gather());
    });
  }

  private gather(): void {
    const { run } = this;
    const read = this.parts.filter(({ loaded }) => loaded.peek());
    const swept = new Set(read.flatMap(({ run: { experiments } }) => sweptOf(experiments)));
    const configs = read.map((part) => part.run.config ?? {});
    const names = [...swept, ...fixedApart(configs, [...swept])];
    const areNew = names.join("\n") !== this.names;
    this.names = names.join("\n");
    this.parts.forEach((part, place) => {
      const version = part.version.peek();
      if (!part.loaded.peek() || (this.known.get(part) === version && !areNew)) return;
      this.known.set(part, version);
      for (const one of part.run.experiments.values()) {
        const fixed = names
          .filter((name) => !Object.hasOwn(one.hyperparameters, name))
          .map((name) => [name, valueAt(part.run.config ?? undefined, name)] as const)
          .filter(([, value]) => value !== undefined && !/"sweep":/.test(JSON.stringify(value)));
        const hyperparameters = { run: part.id, ...Object.fromEntries(fixed), ...one.hyperparameters };
        const id = pooledId(place, one.id);
        run.experiments.set(id, { ...one, id, run: part.id, own: one.id, hyperparameters } as Experiment);
      }
    });
    const runs = read.map((part) => part.run);
    const [first] = runs;
    if (first) {
      Object.assign(run, { config: first.config, monitor: first.monitor, mode: first.mode });
      run.scores = [...new Set(runs.flatMap(({ scores }) => scores))];
      run.startedMs = Math.min(...runs.map(({ startedMs }) => startedMs ?? Infinity));
      run.status = runs.find(({ status }) => status === "RUNNING")?.status ?? first.status;
      run.times = this.gathered("(times)", (part) => part.run.times);
      run.seconds = this.gathered("(seconds)", (part) => part.run.seconds);
    }
    const errors = this.parts.map(({ error }) => error.peek());
    this.error.value = first ? null : (errors.find((error) => error !== null) ?? null);
    this.loaded.value = !!first;
    this.version.value = this.version.peek() + 1;
  }

  /** The curves of all runs under the pool's numbers; where some have every K-th epoch alone, of all these. */
  private gathered(
    key: string,
    of: (part: RunStore) => Curves | null | undefined,
    grouped = false,
  ): Curves | null {
    const found = this.parts.map((part) => (part.loaded.peek() ? of(part) : null));
    const every = Math.max(1, ...found.map((curves) => curves?.every ?? 1));
    const text = this.parts.map((part, i) => `${part.version.peek()} ${!!found[i]}`).join();
    const kept = this.joined.get(key);
    if (kept?.key === text) return kept.curves;
    if (!found.some(Boolean)) return null;
    const curves = new Curves(every);
    found.forEach((some, place) => {
      for (const [id, curve] of some ?? [])
        curves.set(pooledId(place, id), grouped && some!.every < every ? thinned(curve, every) : curve);
    });
    this.joined.set(key, { key: text, curves });
    return curves;
  }

  need(name: string, grouped = false): void {
    for (const part of this.parts) if (part.loaded.peek()) part.need(name, grouped);
  }

  curvesOf(name: string, grouped: boolean): Curves | undefined {
    return this.gathered(`${grouped} ${name}`, (part) => part.curvesOf(name, grouped), grouped) ?? undefined;
  }

  tableOf(ids: readonly number[], name: string): string | null {
    const parts = this.parts.map((part, place) => ({ part, own: ownOf(ids, place) }));
    return tableOfRuns(
      parts.filter(({ own }) => own.length).map(({ part, own }) => [part.id, part.idsOf(own)]),
      name,
    );
  }

  async detail(
    name: string,
    ids: readonly number[],
    range: readonly [number, number],
    grouped: boolean,
    stopped: AbortSignal,
  ): Promise<Curves> {
    const parts = this.parts.map(async (part, place) => {
      const own = ownOf(ids, place);
      return own.length ? part.detail(name, own, range, grouped, stopped) : null;
    });
    const found = await Promise.all(parts);
    const curves = new Curves(Math.max(1, ...found.map((one) => one?.every ?? 1)));
    found.forEach((some, place) => {
      for (const [id, curve] of some ?? [])
        curves.set(pooledId(place, id), some!.every < curves.every ? thinned(curve, curves.every) : curve);
    });
    return curves;
  }
}

const sweptOf = (experiments: Map<number, Experiment>) =>
  [...experiments.values()].flatMap(({ hyperparameters }) => Object.keys(hyperparameters));

function emptyRun(id: string): Run {
  return {
    id,
    name: null,
    status: "INIT",
    startedMs: null,
    finishedMs: null,
    numExperiments: null,
    config: null,
    configHash: null,
    groups: [],
    speeds: [],
    scores: [],
    monitor: null,
    mode: "max",
    mismatches: 0,
    eventId: 0,
    heads: { run: 0, experiments: 0 },
    experiments: new Map(),
    curves: new Map(),
    grids: new Map(),
    details: new Set(),
    times: null,
    seconds: null,
  };
}
