/** All runs in the store, the latest first, kept up to date by the server. */

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { address, navigate, runAddress, setView, view } from "../app";
import { Chip, Empty, Field, Status, Toggle } from "../controls";
import { parseText } from "../filter";
import { formatAgo, formatBytes, formatTime } from "../format";
import { type Connection, LiveSocket } from "../live";
import { ImportButton } from "../sharing";
import { type Column, Table } from "../table";
import { getJson, type RequestError, type RunRow } from "../wire";
import { SignIn } from "./settings";

export const runsConnection = signal<{ state: Connection; retryAt: number | null }>({
  state: "connecting",
  retryAt: null,
});
/** What the server says of its folder: the runs, and the folders that look like runs and are not in the list. */
interface Overview {
  grid_searches: RunRow[];
  num_not_shown?: number;
  not_shown?: { name: string; reason: string }[];
}

const overview = signal<Overview | null>(null);

const COLUMNS: Column<RunRow>[] = [
  {
    id: "name",
    title: "Name",
    label: "Name",
    width: 170,
    cell: (run) => <a href={runAddress(run.grid_search_id)}>{run.name ?? run.grid_search_id}</a>,
  },
  {
    id: "status",
    title: "Status",
    label: "Status",
    width: 130,
    cell: (run) => <Status status={run.status} note={run.status === "LOST" ? "writer is gone" : null} />,
  },
  {
    id: "experiments",
    title: "Experiments",
    label: "Experiments",
    width: 100,
    numeric: true,
    cell: (run) => run.num_experiments?.toLocaleString("en"),
  },
  {
    id: "started",
    title: "Started",
    label: "Started",
    width: 170,
    cell: (run) => <time title={formatAgo(run.started_ms)}>{formatTime(run.started_ms)}</time>,
  },
  {
    id: "modified",
    title: "Last event",
    label: "Last event",
    width: 110,
    cell: (run) => formatAgo(run.modified_ms),
  },
  {
    id: "bytes",
    title: "Log",
    label: "Size of the log",
    width: 90,
    numeric: true,
    cell: (run) => formatBytes(run.bytes),
  },
  { id: "id", title: "Id", label: "Id", width: 200, cell: (run) => <code>{run.grid_search_id}</code> },
];

/** The list of runs, kept up to date as long as something shows or follows it. */
function useRuns(): RunRow[] | null {
  useEffect(() => {
    const socket = new LiveSocket({
      path: () => "ws/grid_searches",
      onFrame: (frame) => {
        overview.value = frame as unknown as Overview;
      },
      onState: (state, retryMs) => {
        runsConnection.value = { state, retryAt: retryMs === null ? null : Date.now() + retryMs };
      },
      diagnose: async () => {
        try {
          overview.value = await getJson<Overview>("grid_searches?not_shown=1");
          return "answers";
        } catch (error) {
          const { status } = error as RequestError;
          return status === 401 || status === 403 ? "denied" : "retry";
        }
      },
    });
    return () => socket.close();
  }, []);
  return overview.value?.grid_searches ?? null;
}

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

export function Runs() {
  const list = useRuns();
  useFollow(list);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 10_000); // “2 min ago” grows older
    return () => clearInterval(timer);
  }, []);

  const { params } = address.value;
  const q = params.q ?? "";
  const change = (more: Record<string, string>) => navigate(["runs"], { ...params, ...more }, true);
  if (runsConnection.value.state === "denied") return <SignIn />;
  const words = parseText(q);
  const shown = (list ?? []).filter(
    (run) => !words.ok || words.value(`${run.grid_search_id} ${run.name ?? ""} ${run.status}`),
  );
  return (
    <div class="page">
      <div class="bartop">
        <h1>Runs</h1>
        <Field
          label="Filter"
          hidden
          value={q}
          placeholder="filter: text or /regex/"
          check={parseText}
          shortcut="/"
          onCommit={(text) => change({ q: text })}
        />
        <Toggle
          label="Follow the newest"
          value={view.value.follow}
          onChange={(on) => change({ follow: on ? "1" : "" })}
        />
        <span class="space" />
        {list && (
          <small class="count">
            {shown.length === list.length ? "" : `${shown.length} of `}
            {list.length.toLocaleString("en")} {list.length === 1 ? "run" : "runs"}
          </small>
        )}
        <ImportButton />
      </div>
      {list === null ? (
        <Empty
          title={
            runsConnection.value.state === "offline" ? "The board's server cannot be reached" : "Loading…"
          }
        />
      ) : list.length === 0 ? (
        <Empty title="No runs yet">
          <p>Start one; it appears here by itself:</p>
          <pre>python -m mlgym_jax.run --config=configs/gs.py</pre>
          <p>The board shows the runs in the folder that its --event_storage names.</p>
        </Empty>
      ) : (
        <Table
          label="Runs"
          rows={shown}
          columns={COLUMNS}
          keyOf={(run) => run.grid_search_id}
          onOpen={(run) => (location.hash = runAddress(run.grid_search_id))}
        />
      )}
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
