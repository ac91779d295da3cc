/** The verdict on a run, which the server computes: asked for again when there is something new to judge, else never. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Run } from "./run_state";
import type { RunStore } from "./run_store";
import { encode, getJson, type Verdict } from "./wire";

const LEAST_MS = 250;
const SHARE = 10; // of the time at most a tenth is spent on it, however large a run is

/** What of a run the verdict depends on, as a text; progress within an epoch is not part of it. */
export function judgedBy(run: Run): string {
  let [epochs, checkpoints] = [0, 0];
  const counts: Record<string, number> = {};
  for (const one of run.experiments.values()) {
    epochs += one.epochs;
    checkpoints += one.checkpoint;
    counts[one.status] = (counts[one.status] ?? 0) + 1;
  }
  return JSON.stringify([run.status, run.groups.length, run.speeds.length, epochs, checkpoints, counts]);
}

export interface Judged {
  verdict: Verdict | null;
  error: Error | null;
  retry: () => void;
}

/** A run's verdict, by the run's own score or another one (`by`, `mode`: "" for the usual). */
export function useVerdict(store: RunStore, by: string, mode: string): Judged {
  const [state, setState] = useState<{ verdict: Verdict | null; error: Error | null }>({
    verdict: null,
    error: null,
  });
  const [tries, setTries] = useState(0);
  const next = useRef(0); // when it may be asked for again
  const key = `${judgedBy(store.run)}|${by}|${mode}|${tries}`;
  const asked = useRef({ key: "", busy: false });
  useEffect(() => {
    let timer = 0;
    const ask = async () => {
      if (asked.current.busy || asked.current.key === key) return; // what is asked for now ends in another render
      asked.current = { key, busy: true };
      const began = performance.now();
      const query = `monitor=${encode(by)}&mode=${mode}`;
      try {
        const verdict = await getJson<Verdict>(`grid_searches/${encode(store.id)}/verdict?${query}`);
        setState({ verdict, error: null });
      } catch (error) {
        setState((before) => ({ ...before, error: error as Error }));
      }
      const now = performance.now();
      next.current = now + Math.max(LEAST_MS, SHARE * (now - began));
      asked.current.busy = false;
    };
    timer = window.setTimeout(ask, Math.max(0, next.current - performance.now()));
    return () => clearTimeout(timer);
  }, [key, state]);
  return { ...state, retry: () => setTries(tries + 1) };
}
