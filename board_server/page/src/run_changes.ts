/** What people say of runs, sent to the board: notes, tags, archive, delete; and how each is undone. */

import { signal } from "@preact/signals";
import { session } from "./app";
import { overview } from "./runs_feed";
import { encode, getJson, type RequestError, type RunRow, request } from "./wire";

export type Change =
  | { event_type: "note_set"; note: string }
  | { event_type: "tag_added" | "tag_removed"; tag: string }
  | { event_type: "archived" | "unarchived" | "deleted" | "restored" };

/** What is said of a run, whole. */
export interface Said {
  note: string;
  tags: readonly string[];
  archived: boolean;
  deleted: boolean;
}

/** Of some runs, what is to be changed. */
export type Changes = ReadonlyMap<string, readonly Change[]>;

interface Told {
  text: string;
  problems: readonly string[];
  /** What takes it back. */
  undo: Changes | null;
}

/** What was done last, until something else is, or somebody closes it. */
export const told = signal<Told | null>(null);
/** Someone wants to change something, and may not yet. */
export const wantsToWrite = signal(false);

const OPPOSITE = {
  tag_added: "tag_removed",
  tag_removed: "tag_added",
  archived: "unarchived",
  unarchived: "archived",
  deleted: "restored",
  restored: "deleted",
} as const;
const AT_ONCE = 6; // as many requests as browsers send side by side
const MAX_NOTE = 200; // characters of its first line, as the list has it
const NAMED = 5;

export const pathOf = (run: string) => `grid_searches/${encode(run)}/annotations`;
export const saidOf = (run: string) => getJson<Said>(pathOf(run));

/** Whether this browser may change something; if not, a token is asked for, or it is said that there is none. */
export function mayWrite(): boolean {
  const may = session.value?.write !== false;
  if (!may) wantsToWrite.value = true;
  return may;
}

/** The changes that make one set of tags another. */
export function tagChanges(before: readonly string[], after: readonly string[]): Change[] {
  return [
    ...after.filter((tag) => !before.includes(tag)).map((tag): Change => ({ event_type: "tag_added", tag })),
    ...before
      .filter((tag) => !after.includes(tag))
      .map((tag): Change => ({ event_type: "tag_removed", tag })),
  ];
}

/** Tags as one types them, apart by blanks or commas, each once. */
export const readTags = (text: string) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

/** `+paper -draft` as changes of a run that has these tags already; a tag without a sign is added. */
export function signedTags(text: string, has: readonly string[]): Change[] {
  const after = new Set(has);
  for (const word of readTags(text)) {
    const tag = word.replace(/^[+-]/, "");
    if (!tag) continue;
    if (word.startsWith("-")) after.delete(tag);
    else after.add(tag);
  }
  return tagChanges(has, [...after]);
}

/** What takes changes back; `note`: what it was before. */
export function opposite(changes: readonly Change[], note?: string): Change[] {
  return [...changes].reverse().map((change): Change => {
    if (change.event_type === "note_set") return { ...change, note: note ?? "" };
    return { ...change, event_type: OPPOSITE[change.event_type] } as Change;
  });
}

/** Show at once what the server answered; its next list says the same. */
function take(run: string, said: Said): void {
  const now = overview.value;
  if (!now) return;
  const { tags, archived, deleted } = said;
  const note = said.note.trim().split("\n", 1)[0]!.slice(0, MAX_NOTE);
  const rows = now.grid_searches.map((row) =>
    row.grid_search_id === run ? { ...row, tags, archived, deleted, note } : row,
  );
  overview.value = { ...now, grid_searches: rows };
}

const nameOf = (run: string): string => {
  const row = overview.value?.grid_searches.find((one) => one.grid_search_id === run);
  return row?.name ? `${row.name} (${run})` : run;
};

/** Why a change failed, in words. */
function problem(run: string, error: RequestError): string {
  if (error.status === 404) return `${run} is not in the store any more`;
  return `${run}: ${error.message}`;
}

/**
 * Send changes, of several runs side by side, and tell what came of them. `done`: what was done, in the past tense;
 * `notes`: what notes were before. Return the runs whose changes hold.
 */
export async function change(
  changes: Changes,
  done: string,
  notes: ReadonlyMap<string, string> = new Map(),
): Promise<string[]> {
  if (!mayWrite()) return [];
  const waiting = [...changes].filter(([, some]) => some.length);
  const held: string[] = [];
  const problems: string[] = [];
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [run, some] = next;
      try {
        const response = await request(pathOf(run), {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ changes: some }),
        });
        take(run, (await response.json()) as Said);
        held.push(run);
      } catch (error) {
        if ((error as RequestError).status === 401) wantsToWrite.value = true;
        problems.push(problem(run, error as RequestError));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (!held.length && !problems.length) return [];
  const undo = new Map(held.map((run) => [run, opposite(changes.get(run)!, notes.get(run))]));
  const whom = held.length === 1 ? nameOf(held[0]!) : `${held.length.toLocaleString("en")} runs`;
  told.value = {
    text: held.length ? `${whom}: ${done}.` : "",
    problems: [
      ...problems.slice(0, NAMED),
      ...(problems.length > NAMED ? [`${problems.length - NAMED} more could not be changed`] : []),
    ],
    undo: undo.size ? undo : null,
  };
  return held;
}

export async function undo(): Promise<void> {
  const back = told.value?.undo;
  if (!back) return;
  await change(back, "as before");
  if (told.value) told.value = { ...told.value, undo: null };
}

/** The same change of each of these runs. */
export const ofEach = (runs: readonly RunRow[], changes: (run: RunRow) => readonly Change[]): Changes =>
  new Map(runs.map((run) => [run.grid_search_id, changes(run)]));
