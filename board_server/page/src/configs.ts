/** The resolved configs of single experiments: from their files, or from the list where a run has no files. */

import type { RunStore } from "./run_store";
import { type ExperimentRow, encode, getJson, type JsonObject } from "./wire";

const known = new WeakMap<RunStore, Map<number, Promise<JsonObject | null>>>();

export function configOf(store: RunStore, id: number): Promise<JsonObject | null> {
  let configs = known.get(store);
  if (!configs) known.set(store, (configs = new Map()));
  let config = configs.get(id);
  if (!config) configs.set(id, (config = load(store.id, id)));
  return config;
}

async function load(run: string, id: number): Promise<JsonObject | null> {
  try {
    const rows = await getJson<ExperimentRow[]>(`grid_searches/${encode(run)}/experiments?experiments=${id}`);
    return rows.find((row) => row.experiment_id === id)?.experiment_config ?? null;
  } catch {
    return null;
  }
}
