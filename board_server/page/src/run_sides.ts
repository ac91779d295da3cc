/** Runs that are compared: of each what its best candidate is, and its curves, loaded as soon as they are there. */

import { signal } from "@preact/signals";
import { formatIds } from "./address";
import type { Curves } from "./curve";
import type { JsonObject } from "./json";
import { decodeScores } from "./scores_binary";
import { encode, getJson, request } from "./wire";

export interface Mean {
  mean: number;
  std: number | null;
  low: number | null;
  high: number | null;
  num: number;
}

export interface Selected {
  experiments: number[];
  hyperparameters: JsonObject;
  monitor: string;
  mode: "max" | "min";
  best_experiment_id: number;
  best_epoch: number;
  best_score: number;
  epochs: number;
}

/** What `GET /comparison` answers. */
export interface Comparison {
  runs: string[];
  names: (string | null)[];
  labels: string[];
  config: Record<string, JsonObject[string][]>;
  versions: Record<string, JsonObject[string][]>;
  code: Record<string, JsonObject[string][]>;
  selected: (Selected | null)[];
  monitor: string | null;
  scores: {
    name: string;
    mode: "max" | "min";
    runs: (Mean | null)[];
    differences: (Mean | null)[];
  }[];
  sentences: (string | null)[];
}

/** One run of several. */
export interface Side {
  id: string;
  name: string | null;
  selected: Selected | null;
  /** By the score's name. */
  scores: Map<string, Curves>;
  problem: string | null;
  /** Whether it was selected by another score, and is to be read anew. */
  isOld: boolean;
}

const POINTS = 1000; // of each curve: every K-th epoch, the same of each member, so that means are exact
const MAX_MEMBERS = 100; // whose curves are loaded
const AGAIN_MS = 5000;
const SHOW_MS = 150;

/** The epochs that are asked for are multiples of it. */
export const everyOf = (epochs: number) => Math.max(1, Math.ceil(epochs / POINTS));

/** Whether hardly any epoch of the longest curve is a multiple of the wanted: they are steps, or far apart. */
export function areFew(scores: Iterable<ReadonlyMap<number, { n: number; total: number }>>): boolean {
  const [longest] = [...scores].flatMap((some) => [...some.values()]).sort((a, b) => b.total - a.total);
  return !!longest && longest.n < Math.min(longest.total, POINTS) / 2;
}

export class Sides {
  readonly version = signal(0);
  readonly found = signal<Comparison | null>(null);
  readonly problem = signal("");
  readonly sides = new Map<string, Side>();
  private readonly ids: readonly string[];
  private readonly monitor: string;
  private readonly stop = new AbortController();
  private readonly seen = new Map<string, number>(); // how much of each log was known when it was loaded
  private timer = 0;
  private isBusy = false;

  /** `before`: what was shown until now; selected by another score, it stands until it is read anew. */
  constructor(ids: readonly string[], monitor: string, before: Sides | null) {
    this.ids = ids;
    this.monitor = monitor;
    const isSame = before?.monitor === monitor;
    for (const [id, side] of before?.sides ?? []) {
      if (side.problem) continue;
      this.sides.set(id, isSame ? side : { ...side, isOld: true });
      const bytes = before!.seen.get(id);
      if (isSame && bytes !== undefined) this.seen.set(id, bytes);
    }
    void this.load(ids.filter((id) => this.sides.get(id)?.isOld !== false));
  }

  close(): void {
    this.stop.abort();
    clearTimeout(this.timer);
  }

  /** Load anew what has grown; `bytes`: of each run's log. */
  follow(bytes: ReadonlyMap<string, number>): void {
    const grown = this.ids.filter((id) => {
      const [now, before] = [bytes.get(id), this.seen.get(id)];
      if (now !== undefined && before === undefined) this.seen.set(id, now);
      return now !== undefined && before !== undefined && now !== before;
    });
    if (!grown.length || this.timer || this.isBusy) return;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      for (const id of grown) this.seen.set(id, bytes.get(id)!);
      void this.load(grown);
    }, AGAIN_MS);
  }

  private query(ids: readonly string[]): string {
    const monitor = this.monitor ? `&monitor=${encode(this.monitor)}` : "";
    return `comparison?${ids.map((id) => `runs=${encode(id)}`).join("&")}${monitor}`;
  }

  private async load(ids: readonly string[]): Promise<void> {
    this.isBusy = true;
    const { signal: stopped } = this.stop;
    let shown = -SHOW_MS;
    // One after the other: the board keeps few logs in memory, and the first chart need not wait for the last run.
    for (const id of ids) {
      const side = await this.side(id);
      if (stopped.aborted) return;
      this.sides.set(id, side);
      if (performance.now() < shown + SHOW_MS) continue; // where the board has them all ready they come by the dozen
      this.version.value++;
      shown = performance.now();
    }
    try {
      const there = this.ids.filter((id) => !this.sides.get(id)?.problem);
      this.found.value = there.length
        ? await getJson<Comparison>(this.query(there), { signal: stopped })
        : null;
      this.problem.value = "";
    } catch (error) {
      if (stopped.aborted) return;
      this.problem.value = (error as Error).message;
    }
    this.isBusy = false;
    this.version.value++;
  }

  private async side(id: string): Promise<Side> {
    const side: Side = { id, name: null, selected: null, scores: new Map(), problem: null, isOld: false };
    try {
      const init = { signal: this.stop.signal };
      const found = await getJson<Comparison>(this.query([id]), init);
      side.name = found.names[0] ?? null;
      side.selected = found.selected[0] ?? null;
      if (side.selected) {
        const { experiments, best_experiment_id, epochs } = side.selected;
        const members = new Set([best_experiment_id, ...experiments.slice(0, MAX_MEMBERS)]);
        const path = `grid_searches/${encode(id)}/scores?format=binary&experiments=${formatIds(members)}`;
        const scores = async (which: string, every = 1) =>
          decodeScores(await (await request(path + which, init)).arrayBuffer(), every).scores;
        const every = everyOf(epochs);
        side.scores = await scores(`&every=${every}`, every);
        if (areFew(side.scores.values())) side.scores = await scores(`&points=${2 * POINTS}`);
      }
    } catch (error) {
      side.problem = (error as Error).message;
    }
    return side;
  }
}
