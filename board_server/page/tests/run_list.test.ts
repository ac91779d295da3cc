import { expect, test } from "vitest";
import {
  groupedRows,
  type ListRow,
  originOf,
  parseSearch,
  searchWord,
  sortRuns,
  toggleWord,
} from "../src/run_list";
import type { RunRow } from "../src/wire";

const run = (id: string, more: Partial<RunRow> = {}): RunRow => ({
  grid_search_id: id,
  name: "digits",
  status: "DONE",
  started_ms: 0,
  modified_ms: 0,
  num_experiments: 1,
  bytes: 1,
  published: false,
  note: "",
  tags: [],
  archived: false,
  deleted: false,
  summarised: true,
  monitor: "val/accuracy",
  mode: "max",
  best_score: null,
  best_experiment_id: null,
  best_epoch: null,
  progress: 1,
  num_done: 1,
  num_failed: 0,
  seconds: 1,
  sparkline: [],
  owner: null,
  num_launches: 1,
  num_refits: 0,
  warm_starts: [],
  ...more,
});

const RUNS = [
  run("a", { tags: ["paper", "Base"], owner: "Ada L", best_score: 0.9 }),
  run("b", { note: "<b>odd</b> data", status: "FAILED", best_score: 0.2, mode: "min", monitor: "val/loss" }),
  run("c", { archived: true, tags: ["paper"], best_score: 0.95 }),
  run("d", { name: null, num_failed: 2, tags: ["papers"] }),
];
const ids = (runs: readonly RunRow[]) => runs.map((one) => one.grid_search_id).join("");
const found = (text: string) => {
  const search = parseSearch(text);
  return search.ok ? ids(RUNS.filter(search.value)) : `error: ${search.error}`;
};

test.each([
  ["", "abd"],
  ["DIGITS", "ab"],
  ["tag:paper", "a"],
  ["tag:base", "a"],
  ["-tag:paper", "bd"],
  ["is:archived", "c"],
  ["is:all tag:paper", "ac"],
  ["is:failed", "bd"],
  ["status:failed", "b"],
  ['owner:"ada l"', "a"],
  ['"<b>odd</b> data"', "b"],
  ["<b> data", "b"],
  ["/^[ab]$/m", "ab"],
  ["tag:", "abd"],
  ["is:arch", "abd"],
  ["lr:0.1", ""],
  [
    "is:nothing",
    "error: is: is followed by archived, all, deleted, published, running, lost, failed, tagged",
  ],
])("the search %s finds %s", (text, wanted) => expect(found(text)).toBe(wanted));

test("the best comes first, whichever way is better; what has no value last, either way", () => {
  expect(ids(sortRuns(RUNS, "best"))).toBe("cabd");
  expect(ids(sortRuns(RUNS, "-best"))).toBe("bacd");
  expect(ids(sortRuns(RUNS, "-owner"))).toBe("abcd");
  expect(ids(sortRuns(RUNS, "no such column"))).toBe("abcd");
});

test("a run with several tags stands in each group; what has none comes last; closed groups keep their heads", () => {
  const text = (row: ListRow) => ("run" in row ? row.run.grid_search_id : `[${row.group} ${row.size}]`);
  const shown = (closed: string[]) =>
    groupedRows([RUNS[1]!, RUNS[0]!, RUNS[2]!], "tag", closed).map(text).join(" ");
  expect(shown([])).toBe("[paper 2] a c [Base 1] a [(none) 1] b");
  expect(shown(["paper"])).toBe("[paper 2] [Base 1] a [(none) 1] b");
});

test("a click on a tag puts its word into the search, and takes it out again", () => {
  expect(searchWord("owner", "Ada L")).toBe('owner:"Ada L"');
  expect(toggleWord("digits", "tag:paper")).toBe("digits tag:paper");
  expect(toggleWord('digits owner:"Ada L"', 'owner:"Ada L"')).toBe("digits");
});

test("the origin names launches, refits and the run that it was warm started from", () => {
  const one = run("e", { num_launches: 3, num_refits: 1, warm_starts: ["/store/runs/base/"] });
  expect(originOf(one)).toBe("resumed 2×, 1 refit, from base");
  expect(originOf(run("f"))).toBe("");
});
