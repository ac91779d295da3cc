/** The columns of the list of runs: the answer first, then what led to it. */

import { computed, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { runAddress, setView, view } from "./app";
import { Score, Status } from "./controls";
import { formatAgo, formatBytes, formatDuration, formatTime } from "./format";
import { change, mayWrite, readTags, tagChanges } from "./run_changes";
import { type ListRow, originOf, searchWord, toggleWord } from "./run_list";
import { noteOf } from "./run_tools";
import { overview } from "./runs_feed";
import { Spark } from "./spark";
import type { Column } from "./table";
import type { RunRow } from "./wire";

/** Tags that are being typed; they stay while the list changes beneath. */
const typing = signal<{ run: string; group: string; text: string } | null>(null);

interface RunColumn extends Omit<Column<RunRow>, "cell"> {
  cell: (run: RunRow, group: string) => ComponentChildren;
  /** Whether it says something of a run; columns that say nothing of any are left out. */
  says?: (run: RunRow) => boolean;
  /** Shown only where it is asked for. */
  rare?: boolean;
  /** Where it says nothing of any run its button alone is there, and as much room. */
  bare?: (run: RunRow) => boolean;
}

export const titleOf = (run: RunRow) => run.name ?? run.grid_search_id;

function toggleRun(id: string): void {
  const chosen = new Set(view.value.runs);
  if (!chosen.delete(id)) chosen.add(id);
  setView({ runs: [...chosen] });
}

/** Names that more than one run has. */
const shared = computed(() => {
  const seen = new Set<string | null>();
  const twice = new Set<string | null>();
  for (const { name } of overview.value?.grid_searches ?? []) (seen.has(name) ? twice : seen).add(name);
  return twice;
});
const IS_TIME = /^\d{4}-\d\d-\d\d--/; // which another column says

function Name({ run }: { run: RunRow }) {
  const id = run.grid_search_id;
  return (
    <>
      <input
        type="checkbox"
        aria-label={`Choose ${titleOf(run)} (${id})`}
        checked={view.value.runs.includes(id)}
        onChange={() => toggleRun(id)}
      />
      <a href={runAddress(id)} title={id}>
        {titleOf(run)}
      </a>
      {run.name !== null && shared.value.has(run.name) && !IS_TIME.test(id) && <small>{`\u00a0${id}`}</small>}
      {run.archived && <small class="tag"> archived</small>}
    </>
  );
}

function Best({ run }: { run: RunRow }) {
  if (run.best_score === null) return run.summarised ? null : <small>reading…</small>;
  const where = `${run.monitor}, experiment ${run.best_experiment_id}, epoch ${run.best_epoch}`;
  return (
    <span title={where}>
      <Score value={run.best_score} align /> <small>{run.monitor}</small>
    </span>
  );
}

function Tags({ run, group }: { run: RunRow; group: string }) {
  const id = run.grid_search_id;
  const now = typing.value;
  if (now?.run === id && now.group === group) return <TagField run={run} text={now.text} />;
  return (
    <span class="tags">
      <button
        type="button"
        class="bare"
        aria-label={`Change the tags of ${titleOf(run)}`}
        title="Change the tags"
        onClick={() => {
          if (mayWrite()) typing.value = { run: id, group, text: run.tags.map((tag) => `${tag} `).join("") };
        }}
      >
        {run.tags.length ? "✎" : "+"}
      </button>
      {run.tags.map((tag) => (
        <button
          key={tag}
          type="button"
          class="chip"
          title={`Show those with the tag ${tag}`}
          onClick={() => setView({ q: toggleWord(view.value.q, searchWord("tag", tag)) })}
        >
          {tag}
        </button>
      ))}
    </span>
  );
}

function TagField({ run, text }: { run: RunRow; text: string }) {
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.focus(), []); // before the next key
  const end = (isMeant: boolean) => {
    typing.value = null;
    if (!isMeant) return;
    const changes = tagChanges(run.tags, readTags(text));
    void change(new Map([[run.grid_search_id, changes]]), "tags changed");
  };
  return (
    <input
      type="text"
      class="inplace"
      ref={field}
      aria-label={`Tags of ${titleOf(run)}, apart by blanks`}
      value={text}
      spellcheck={false}
      autocomplete="off"
      onInput={(event) => {
        typing.value = { ...typing.value!, text: event.currentTarget.value };
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter") end(true);
        else if (event.key === "Escape") end(false);
        else return;
        event.stopPropagation();
      }}
      onBlur={() => typing.value?.run === run.grid_search_id && end(true)}
    />
  );
}

function Note({ run }: { run: RunRow }) {
  return (
    <button
      type="button"
      class="bare"
      title={run.note || "Write a note"}
      aria-label={run.note ? `Note of ${titleOf(run)}: ${run.note}` : `Write a note on ${titleOf(run)}`}
      onClick={() => {
        noteOf.value = run;
      }}
    >
      {run.note || "+"}
    </button>
  );
}

function Progress({ run }: { run: RunRow }) {
  if (run.progress === null) return null;
  const text = `${Math.floor(run.progress * 100)} %`;
  return (
    <span class="bar" role="img" aria-label={`${text} done`} title={`${run.num_done} experiments done`}>
      <span class="track">
        <span style={{ width: text.replace(" ", "") }} />
      </span>
      <small>{text}</small>
    </span>
  );
}

export const COLUMNS: RunColumn[] = [
  { id: "name", title: "Name", label: "Name", width: 190, frozen: true, cell: (run) => <Name run={run} /> },
  {
    id: "best",
    title: "Best",
    label: "Best score, by the run's monitor; the best first",
    width: 160,
    cell: (run) => <Best run={run} />,
  },
  {
    id: "trend",
    title: "So far",
    label: "",
    width: 104,
    says: (run) => run.sparkline.length > 1,
    cell: (run) => (
      <Spark
        values={run.sparkline}
        label={`Best so far of ${run.monitor}: from ${run.sparkline[0]} to ${run.sparkline.at(-1)}`}
      />
    ),
  },
  {
    id: "status",
    title: "Status",
    label: "Status",
    width: 120,
    cell: (run) => (
      <span title={run.status === "LOST" ? "Its writer is gone" : ""}>
        <Status status={run.status} />
      </span>
    ),
  },
  { id: "progress", title: "Done", label: "Progress", width: 112, cell: (run) => <Progress run={run} /> },
  {
    id: "failed",
    title: "Failed",
    label: "Failed experiments",
    width: 74,
    numeric: true,
    says: (run) => !!run.num_failed,
    cell: (run) => (run.num_failed ? <span class="bad">{run.num_failed.toLocaleString("en")}</span> : ""),
  },
  {
    id: "tags",
    title: "Tags",
    label: "Tags",
    width: 124,
    bare: (run) => !run.tags.length,
    cell: (run, group) => <Tags run={run} group={group} />,
  },
  {
    id: "note",
    title: "Note",
    label: "Note",
    width: 120,
    bare: (run) => !run.note,
    cell: (run) => <Note run={run} />,
  },
  {
    id: "duration",
    title: "Duration",
    label: "Duration, from the first event to the last result",
    width: 96,
    numeric: true,
    cell: (run) => (run.seconds === null ? "" : formatDuration(run.seconds * 1000)),
  },
  {
    id: "experiments",
    title: "Experiments",
    label: "Experiments",
    width: 106,
    rare: true,
    numeric: true,
    cell: (run) => run.num_experiments?.toLocaleString("en"),
  },
  {
    id: "owner",
    title: "Owner",
    label: "Owner",
    width: 100,
    says: (run) => !!run.owner,
    cell: (run) => <span title={run.owner ?? ""}>{run.owner}</span>,
  },
  {
    id: "origin",
    title: "Origin",
    label: "",
    width: 124,
    says: (run) => originOf(run) !== "",
    cell: (run) => <span title={run.warm_starts.join("\n")}>{originOf(run)}</span>,
  },
  {
    id: "started",
    title: "Started",
    label: "Started",
    width: 172,
    cell: (run) => <time title={formatAgo(run.started_ms)}>{formatTime(run.started_ms)}</time>,
  },
  {
    id: "modified",
    title: "Last event",
    label: "Last event",
    width: 110,
    rare: true,
    cell: (run) => formatAgo(run.modified_ms),
  },
  {
    id: "bytes",
    title: "Log",
    label: "Size of the log",
    width: 90,
    numeric: true,
    rare: true,
    cell: (run) => formatBytes(run.bytes),
  },
  {
    id: "id",
    title: "Id",
    label: "Id",
    width: 200,
    rare: true,
    cell: (run) => <code>{run.grid_search_id}</code>,
  },
];

/** Those that are shown where nobody chose others. */
export const usualColumns = (runs: readonly RunRow[]): string[] =>
  COLUMNS.filter(({ rare, says }) => !rare && (!says || runs.some(says))).map(({ id }) => id);

/** Columns of a table of runs and heads of groups. */
export function columnsFor(
  ids: readonly string[],
  runs: readonly RunRow[],
  toggleGroup: (group: string) => void,
): Column<ListRow>[] {
  return COLUMNS.filter(({ id }) => id === "name" || ids.includes(id)).map(({ cell, bare, ...column }) => ({
    ...column,
    width: bare && runs.every(bare) ? 64 : column.width,
    cell: (row) => {
      if ("run" in row) return cell(row.run, row.group);
      if (column.id !== "name") return null;
      return (
        <button
          type="button"
          class="bare"
          aria-expanded={!row.isClosed}
          onClick={() => toggleGroup(row.group)}
        >
          <span aria-hidden="true">{row.isClosed ? "▸" : "▾"}</span> {row.group}{" "}
          <small>{row.size.toLocaleString("en")}</small>
        </button>
      );
    },
  }));
}
