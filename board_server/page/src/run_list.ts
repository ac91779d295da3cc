/** The list of runs as one asks for it: searched, sorted and grouped. */

import { type Checked, parseText } from "./filter";
import { formatMoment } from "./format";
import type { RunRow } from "./wire";

export type RunTest = (run: RunRow) => boolean;

const STATES = ["archived", "all", "deleted", "published", "running", "lost", "failed", "tagged"] as const;
type State = (typeof STATES)[number];

const IS: Record<State, RunTest> = {
  archived: (run) => run.archived,
  all: () => true,
  deleted: (run) => run.deleted,
  published: (run) => run.published,
  running: (run) => run.status === "RUNNING",
  lost: (run) => run.status === "LOST",
  failed: (run) => run.status === "FAILED" || (run.num_failed ?? 0) > 0,
  tagged: (run) => run.tags.length > 0,
};

const fold = (text: string | null) => (text ?? "").toLowerCase();

/** What follows the colon of `tag:…` and so on. */
const FIELDS: Record<string, (run: RunRow, wanted: string) => boolean> = {
  tag: (run, wanted) => run.tags.some((tag) => fold(tag) === wanted),
  status: (run, wanted) => fold(run.status) === wanted,
  owner: (run, wanted) => fold(run.owner).includes(wanted),
  name: (run, wanted) => fold(run.name).includes(wanted),
  note: (run, wanted) => fold(run.note).includes(wanted),
};

const TOKEN = /-?(?:[a-z]+:)?"[^"]*"|\S+/gi;

/** All that words look at. */
export const haystackOf = (run: RunRow): string =>
  [run.grid_search_id, run.name, run.status, run.owner, run.note, ...run.tags].filter(Boolean).join("\n");

/**
 * Read what a search asks for: words that all occur, `/a regular expression/`, and `tag:`, `status:`, `owner:`, `name:`,
 * `note:` and `is:` with a word, or with words in quotation marks; `-` before one excludes. Archived runs are found only where `is:archived` or `is:all`
 * asks for them, deleted ones only with `is:deleted`.
 */
export function parseSearch(text: string): Checked<RunTest> {
  const trimmed = text.trim();
  if (trimmed.startsWith("/")) {
    const found = parseText(trimmed);
    return found.ok ? { ok: true, value: (run) => !run.archived && found.value(haystackOf(run)) } : found;
  }
  const tests: RunTest[] = [];
  let withArchived = false;
  for (const token of trimmed.match(TOKEN) ?? []) {
    const [, sign, key, quoted] = /^(-?)(?:([a-z]+):)?(.*)$/is.exec(token)!;
    const field = fold(key ?? null);
    const wanted = fold(quoted!.replace(/^"(.*)"$/s, "$1"));
    let test: RunTest;
    if (field === "is") {
      if (!STATES.includes(wanted as State)) {
        if (STATES.some((state) => state.startsWith(wanted))) continue; // it is being typed
        return { ok: false, error: `is: is followed by ${STATES.join(", ")}` };
      }
      withArchived ||= ["archived", "all", "deleted"].includes(wanted);
      test = IS[wanted as State];
    } else if (Object.hasOwn(FIELDS, field)) {
      if (!wanted) continue;
      test = (run) => FIELDS[field]!(run, wanted);
    } else {
      const word = fold(token.slice(sign!.length).replace(/^"(.*)"$/s, "$1"));
      if (!word) continue;
      test = (run) => fold(haystackOf(run)).includes(word);
    }
    tests.push(sign ? (run) => !test(run) : test);
  }
  return {
    ok: true,
    value: (run) => (withArchived || !run.archived) && tests.every((test) => test(run)),
  };
}

/** A word of a search that means exactly this. */
export const searchWord = (key: string, value: string) =>
  `${key}:${/[\s"]/.test(value) ? `"${value.replace(/"/g, "")}"` : value}`;

/** Put a word into a search, or take it out. */
export function toggleWord(search: string, word: string): string {
  const words: string[] = search.trim().match(TOKEN) ?? [];
  return (words.includes(word) ? words.filter((one) => one !== word) : [...words, word]).join(" ");
}

type Key = string | number | null;

/** What a column is sorted by; of numbers and words the least first. */
export const KEYS: Record<string, (run: RunRow) => Key> = {
  name: (run) => run.name ?? run.grid_search_id,
  // The best first, whichever way is better for each run's own score.
  best: (run) => (run.best_score === null ? null : run.mode === "min" ? run.best_score : -run.best_score),
  status: (run) => run.status,
  progress: (run) => run.progress,
  experiments: (run) => run.num_experiments,
  failed: (run) => run.num_failed,
  duration: (run) => run.seconds,
  owner: (run) => run.owner,
  tags: (run) => run.tags.join(" ") || null,
  note: (run) => run.note || null,
  started: (run) => run.started_ms,
  modified: (run) => run.modified_ms,
  bytes: (run) => run.bytes,
  id: (run) => run.grid_search_id,
};

const { compare } = new Intl.Collator("en", { numeric: true }); // made once: a thousand runs take ten thousand comparisons

/** Order by a column, `-column` downwards; what has no value comes last either way, equals stay the latest first. */
export function sortRuns(runs: readonly RunRow[], sort: string): RunRow[] {
  const down = sort.startsWith("-");
  const keyOf = KEYS[down ? sort.slice(1) : sort];
  if (!keyOf) return [...runs];
  const keyed = runs.map((run) => ({ run, key: keyOf(run) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
    const order =
      typeof a.key === "number" && typeof b.key === "number"
        ? a.key - b.key
        : compare(String(a.key), String(b.key));
    return down ? -order : order;
  });
  return keyed.map(({ run }) => run);
}

export const GROUPS = ["", "tag", "name", "owner", "day", "status"] as const;
export type Grouping = (typeof GROUPS)[number];
const NO_GROUP = "(none)";

function groupsOfRun(run: RunRow, by: Grouping): readonly string[] {
  if (by === "tag") return run.tags.length ? run.tags : [NO_GROUP];
  if (by === "day") return [run.started_ms === null ? NO_GROUP : formatMoment(run.started_ms).slice(0, 10)];
  return [{ name: run.name, owner: run.owner, status: run.status.toLowerCase(), "": "" }[by] || NO_GROUP];
}

export type Group = { group: string; size: number; isClosed: boolean };
/** A row of the table: a run, below the group that it stands in, or the head of a group. */
export type ListRow = { run: RunRow; group: string } | Group;

/** Rows of groups in the order of their first runs, what belongs to none last; a run with several tags stands in each. */
export function groupedRows(runs: readonly RunRow[], by: Grouping, closed: readonly string[]): ListRow[] {
  if (!by) return runs.map((run) => ({ run, group: "" }));
  const groups = new Map<string, RunRow[]>();
  for (const run of runs)
    for (const name of groupsOfRun(run, by)) {
      const members = groups.get(name);
      if (members) members.push(run);
      else groups.set(name, [run]);
    }
  const none = groups.get(NO_GROUP);
  if (none && groups.delete(NO_GROUP)) groups.set(NO_GROUP, none);
  return [...groups].flatMap(([group, members]): ListRow[] => {
    const isClosed = closed.includes(group);
    const head = { group, size: members.length, isClosed };
    return [head, ...(isClosed ? [] : members.map((run) => ({ run, group })))];
  });
}

/** What a run comes from, in few words. */
export function originOf(run: RunRow): string {
  const resumed = (run.num_launches ?? 1) - 1;
  return [
    ...(resumed > 0 ? [`resumed${resumed > 1 ? ` ${resumed}×` : ""}`] : []),
    ...(run.num_refits ? [`${run.num_refits} ${run.num_refits === 1 ? "refit" : "refits"}`] : []),
    ...run.warm_starts.map((source) => `from ${source.split("/").filter(Boolean).at(-1) ?? source}`),
  ].join(", ");
}
