/** The list of runs, kept up to date by the server as long as something shows or follows it. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Connection, LiveSocket, verdictOf } from "./live";
import { getJson, type RequestError, type RunRow } from "./wire";

export const runsConnection = signal<{ state: Connection; retryAt: number | null }>({
  state: "connecting",
  retryAt: null,
});

/** What the server says of its folder: the runs, and the folders that look like runs and are not in the list. */
export interface Overview {
  grid_searches: RunRow[];
  num_not_shown?: number;
  not_shown?: { name: string; reason: string }[];
}

export const overview = signal<Overview | null>(null);

export function useRuns(): RunRow[] | null {
  useEffect(() => {
    const socket = new LiveSocket({
      path: () => "ws/grid_searches?changes=1",
      onFrame: (frame) => {
        const { changed } = frame as { changed?: RunRow[] };
        if (!changed) overview.value = frame as Overview;
        else if (changed.length) {
          const rows = new Map(changed.map((row) => [row.grid_search_id, row]));
          const merged = overview.value!.grid_searches.map((row) => rows.get(row.grid_search_id) ?? row);
          overview.value = { ...overview.value, grid_searches: merged };
        }
      },
      onState: (state, retryMs) => {
        runsConnection.value = { state, retryAt: retryMs === null ? null : Date.now() + retryMs };
      },
      diagnose: async () => {
        try {
          overview.value = await getJson<Overview>("grid_searches?not_shown=1");
          return "answers";
        } catch (error) {
          const verdict = verdictOf(error as RequestError);
          return verdict === "gone" ? "retry" : verdict;
        }
      },
    });
    return () => socket.close();
  }, []);
  return overview.value?.grid_searches ?? null;
}
