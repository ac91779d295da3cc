/**
 * Runs that are part of the page's own file (`mlgym_jax.report RUN --html`): all that the page asks a board for is
 * answered from there, and there is neither a server nor news.
 */

import { parseJson } from "./json";

/** `wire.ts` says what else it has. */
type Verdict = { mode: string };

interface SavedRun {
  detail: unknown;
  experiments: unknown[];
  verdict: Verdict;
  /** By the score that it judges by. */
  verdicts: Record<string, Verdict>;
  /** The texts of `model_card.json`, by experiment. */
  cards: Record<string, string>;
  /** Offset and length of its curves. */
  scores: [number, number];
}

interface Saved {
  made_ms: number;
  first: string;
  grid_searches: unknown[];
  runs: Record<string, SavedRun>;
  curves: ArrayBuffer;
}

const element = typeof document === "undefined" ? null : document.getElementById("saved-runs");
/** Whether the page is such a file. */
export const isSaved = element !== null;

let reading: Promise<Saved> | null = null;
export const saved = (): Promise<Saved> => {
  reading ??= unpack(element!.textContent ?? "");
  return reading;
};

async function unpack(text: string): Promise<Saved> {
  const packed = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const all = await new Response(stream).arrayBuffer();
  const length = new DataView(all).getUint32(0, true);
  const found = parseJson(new TextDecoder().decode(new Uint8Array(all, 4, length)));
  return { ...found, curves: all.slice(4 + length) };
}

/** The answer to a request; null where the file does not hold it. */
export async function savedAnswer(path: string): Promise<Response | null> {
  const file = await saved();
  const url = new URL(path, "file:///");
  const [what, id, ...rest] = url.pathname.slice(1).split("/").map(decodeURIComponent);
  const json = (value: unknown) => (value == null ? null : new Response(JSON.stringify(value)));
  if (what === "session") return json({ read: true, write: false, token_required: false });
  if (what === "grid_searches" && id === undefined) return json({ grid_searches: file.grid_searches });
  const run = Object.hasOwn(file.runs, id ?? "") ? file.runs[id!]! : null;
  if (!run) return null;
  if (what === "checkpoint_list") return json([]);
  if (what === "model-card")
    return Object.hasOwn(run.cards, rest[0]!) ? new Response(run.cards[rest[0]!]) : null;
  if (what !== "grid_searches") return null;
  if (!rest.length) return json(run.detail);
  if (rest[0] === "experiments") return json(run.experiments);
  if (rest[0] === "scores")
    return new Response(file.curves.slice(run.scores[0], run.scores[0] + run.scores[1]));
  if (rest[0] !== "verdict") return null;
  const [by, mode] = [url.searchParams.get("monitor"), url.searchParams.get("mode")];
  const verdict = by ? (Object.hasOwn(run.verdicts, by) ? run.verdicts[by]! : null) : run.verdict;
  return verdict && (!mode || mode === verdict.mode) ? json(verdict) : null;
}
