/** All runs in the store, the latest first, kept up to date by the server: searched, sorted, grouped, annotated. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatAddress } from "../address";
import { runAddress, setView, view } from "../app";
import { Chip, Empty, Field, Menu, Select, Toggle } from "../controls";
import { COLUMNS, columnsFor, usualColumns } from "../run_columns";
import { GROUPS, type Grouping, groupedRows, type ListRow, parseSearch, sortRuns } from "../run_list";
import { NoteDialog, RunTools, Told } from "../run_tools";
import { overview, runsConnection, useRuns } from "../runs_feed";
import { isSaved } from "../saved";
import { ImportButton } from "../sharing";
import { Table } from "../table";
import { DEFAULTS, writeView } from "../view_state";
import { getJson, type RunRow } from "../wire";
import { SignIn } from "./settings";

const GROUP_WORDS: Record<Grouping, string> = {
  "": "not grouped",
  tag: "by tag",
  name: "by name",
  owner: "by owner",
  day: "by day",
  status: "by status",
};

/** Open each run that appears from now on, where one follows. */
function useFollow(list: RunRow[] | null): void {
  const newest = list?.[0]?.grid_search_id;
  const known = useRef(list);
  useEffect(() => {
    const before = known.current;
    known.current = list;
    if (view.value.follow && before && newest && !before.some((run) => run.grid_search_id === newest))
      location.hash = runAddress(newest, "analysis");
  }, [list === null, newest]);
}

/** What a run's page says while the newest is followed. */
export function Following() {
  useFollow(useRuns());
  return (
    <p class="active">
      <Chip onRemove={() => setView({ follow: false })}>the next run that appears is opened</Chip>
    </p>
  );
}

/** The address of what compares runs, in the order in which they were ticked. */
function compareAddress(chosen: readonly RunRow[], order: readonly string[]): string {
  const there = new Set(chosen.map((run) => run.grid_search_id));
  const runs = order.filter((id) => there.has(id)); // of too many the view says so
  return formatAddress(["compare", ...(isSaved ? ["selection"] : [])], writeView({ ...DEFAULTS, runs }));
}

/** The runs that a search is about: deleted ones, which the board does not send by itself, only where it asks for them. */
function useWanted(list: RunRow[] | null, isDeleted: boolean): RunRow[] | null {
  const [deleted, setDeleted] = useState<RunRow[] | null>(null);
  useEffect(() => {
    if (isDeleted) getJson<RunRow[]>("grid_searches?deleted=1").then(setDeleted, () => setDeleted([]));
  }, [isDeleted, list]);
  return useMemo(
    () => (isDeleted ? deleted : (list?.filter((run) => !run.deleted) ?? null)),
    [isDeleted, deleted, list],
  );
}

export function Runs() {
  const list = useRuns();
  useFollow(list);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 10_000); // “2 min ago” grows older
    return () => clearInterval(timer);
  }, []);

  const state = view.value;
  const search = parseSearch(state.q);
  const isDeleted = /(^|\s)is:deleted(\s|$)/i.test(state.q);
  const wanted = useWanted(list, isDeleted);
  const there = wanted ?? [];
  const sort = state.sort === DEFAULTS.sort ? "-started" : state.sort;
  const shown = useMemo(
    () => sortRuns(search.ok ? there.filter(search.value) : there, sort),
    [wanted, state.q, sort],
  );
  const grouping = GROUPS.find((one) => one === state.group) ?? "";
  const rows = useMemo(
    () => groupedRows(shown, grouping, state.hideGroups),
    [shown, grouping, state.hideGroups],
  );
  const usual = useMemo(() => usualColumns(there), [wanted]);
  const columns = state.show ?? usual;
  const ticked = new Set(state.runs);
  const chosen = there.filter((run) => ticked.has(run.grid_search_id));
  const toggleGroup = (group: string) => {
    const closed = new Set(state.hideGroups);
    if (!closed.delete(group)) closed.add(group);
    setView({ hideGroups: [...closed] });
  };
  const open = (row: ListRow) => {
    if ("run" in row) location.hash = runAddress(row.run.grid_search_id);
    else toggleGroup(row.group);
  };
  if (runsConnection.value.state === "denied") return <SignIn />;
  const isAll = shown.length > 0 && shown.every((run) => ticked.has(run.grid_search_id));
  return (
    <div class="page">
      <div class="bartop">
        <h1>Runs</h1>
        <Field
          label="Search"
          hidden
          wide
          value={state.q}
          placeholder="text, tag:…, status:…, is:archived"
          check={parseSearch}
          shortcut="/"
          onCommit={(q) => setView({ q })}
        />
        <Select
          label="Group"
          value={grouping as string}
          options={GROUPS.map((one) => [one, GROUP_WORDS[one]] as const)}
          onChange={(group) => setView({ group, hideGroups: [] })}
        />
        <Toggle label="Follow the newest" value={state.follow} onChange={(follow) => setView({ follow })} />
        <span class="space" />
        {wanted && (
          <small class="count">
            {shown.length === there.length ? "" : `${shown.length.toLocaleString("en")} of `}
            {there.length.toLocaleString("en")} {there.length === 1 ? "run" : "runs"}
          </small>
        )}
        <button
          type="button"
          disabled={!shown.length}
          onClick={() => setView({ runs: isAll ? [] : shown.map((run) => run.grid_search_id) })}
        >
          {isAll ? "Choose none" : "Choose all"}
        </button>
        <Menu label="Columns">
          <div class="checks">
            {COLUMNS.slice(1).map(({ id, title, label }) => (
              <label key={id}>
                <input
                  type="checkbox"
                  checked={columns.includes(id)}
                  onChange={(event) => {
                    const on = event.currentTarget.checked;
                    const ids = COLUMNS.map((column) => column.id);
                    setView({ show: ids.filter((other) => (other === id ? on : columns.includes(other))) });
                  }}
                />
                {label.split(",")[0] || title}
              </label>
            ))}
          </div>
          <button type="button" onClick={() => setView({ show: null })}>
            The usual columns
          </button>
        </Menu>
        <ImportButton />
      </div>
      <Told />
      {chosen.length > 0 && (
        <RunTools
          runs={chosen}
          onClear={() => setView({ runs: [] })}
          compareAddress={compareAddress(chosen, state.runs)}
        />
      )}
      {wanted && shown.length === 0 && (there.length > 0 || isDeleted) && (
        <p class="none">
          No run fits this search
          {there.some((run) => run.archived) && "; archived ones are found with is:archived or is:all"}.
        </p>
      )}
      {wanted === null ? (
        <Empty
          title={
            runsConnection.value.state === "offline" ? "The board's server cannot be reached" : "Loading…"
          }
        />
      ) : there.length === 0 && !isDeleted ? (
        <Empty title="No runs yet">
          <p>Start one; it appears here by itself:</p>
          <pre>python -m mlgym_jax.run --config=configs/gs.py</pre>
          <p>The board shows the runs in the folder that its --event_storage names.</p>
        </Empty>
      ) : (
        <Table
          label="Runs"
          rows={rows}
          columns={columnsFor(columns, there, toggleGroup)}
          keyOf={(row) => ("run" in row ? `${row.group}/${row.run.grid_search_id}` : `${row.group}/`)}
          rowClass={(row) =>
            "run" in row ? (ticked.has(row.run.grid_search_id) ? "picked" : "") : "grouphead"
          }
          sort={sort}
          onSort={(next) => setView({ sort: next })}
          onOpen={open}
        />
      )}
      <NoteDialog />
      <NotShown />
    </div>
  );
}

/** Say which folders look like runs and are not in the list, and why. */
function NotShown() {
  const { num_not_shown: number = 0, not_shown: named = [] } = overview.value ?? {};
  if (number === 0) return null;
  return (
    <details class="notshown">
      <summary>
        {number === 1 ? "1 folder is not shown" : `${number.toLocaleString("en")} folders are not shown`}
      </summary>
      <ul>
        {named.map(({ name, reason }) => (
          <li key={name}>
            <code>{name}</code>: {reason}
          </li>
        ))}
        {number > named.length && <li>… and {(number - named.length).toLocaleString("en")} more</li>}
      </ul>
    </details>
  );
}
