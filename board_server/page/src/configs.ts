/** The resolved configs of single experiments: from their files, or from the list where a run has no files. */

import type { RunStore } from "./run_store";
import { type ExperimentRow, encode, getJson, type JsonObject } from "./wire";

const known = new WeakMap<RunStore, Map<number, Promise<JsonObject | null>>>();

export function configOf(store: RunStore, id: number): Promise<JsonObject | null> {
  const configs = known.get(store) ?? new Map<number, Promise<JsonObject | null>>();
  known.set(store, configs);
  const config = configs.get(id) ?? load(store.id, id);
  configs.set(id, config);
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
