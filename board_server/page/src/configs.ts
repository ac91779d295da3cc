/** The resolved configs of single experiments: from their files, or from the list where a run has no files. */

import type { JsonObject } from "./json";
import type { Pool } from "./pool";
import type { Experiment } from "./run_state";
import type { RunStore } from "./run_store";
import { type ExperimentRow, encode, getJson } from "./wire";

const AGAIN_MS = 5000;
const known = new WeakMap<RunStore | Pool, Map<number, Promise<JsonObject | null>>>();

export function configOf(
  store: RunStore | Pool,
  { id, own, run }: Pick<Experiment, "id" | "own" | "run">,
): Promise<JsonObject | null> {
  const configs = known.get(store) ?? new Map<number, Promise<JsonObject | null>>();
  known.set(store, configs);
  const kept = configs.get(id);
  if (kept) return kept;
  const config = load(run ?? store.id, own);
  configs.set(id, config);
  // What is not there yet is asked for again, but not with each epoch.
  void config.then((found) => found ?? setTimeout(() => configs.delete(id), AGAIN_MS));
  return config;
}

async function load(run: string, id: number): Promise<JsonObject | null> {
  const path = `grid_searches/${encode(run)}`;
  try {
    return (await getJson<{ config: JsonObject }>(`${path}/${id}/experiment_config.json`)).config;
  } catch {
    // a log without its files
  }
  try {
    const rows = await getJson<ExperimentRow[]>(`${path}/experiments?experiments=${id}`);
    return rows.find((row) => row.experiment_id === id)?.experiment_config ?? null;
  } catch {
    return null;
  }
}
