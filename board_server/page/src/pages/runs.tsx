/** All runs in the store, the latest first, kept up to date by the server. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { address, navigate, runAddress } from "../app";
import { Empty, Field, Status, Toggle } from "../controls";
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
const runs = signal<RunRow[] | null>(null);

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

export function Runs() {
  useEffect(() => {
    const socket = new LiveSocket({
      path: () => "ws/grid_searches",
      onFrame: (frame) => {
        runs.value = (frame as { grid_searches: RunRow[] }).grid_searches;
      },
      onState: (state, retryMs) => {
        runsConnection.value = { state, retryAt: retryMs === null ? null : Date.now() + retryMs };
      },
      diagnose: async () => {
        try {
          await getJson("grid_searches");
          return "retry";
        } catch (error) {
          const { status } = error as RequestError;
          return status === 401 || status === 403 ? "denied" : "retry";
        }
      },
    });
    return () => socket.close();
  }, []);

  const { params } = address.value;
  const q = params.q ?? "";
  const follow = params.follow === "1";
  const change = (more: Record<string, string>) => navigate(["runs"], { ...params, ...more }, true);
  const list = runs.value;
  const newest = list?.[0];

  // Follow the newest: open it when it appears while one watches.
  useEffect(() => {
    if (!follow || list === null) return;
    const known = sessionStorage.getItem("newest");
    const latest = newest?.grid_search_id ?? "";
    sessionStorage.setItem("newest", latest);
    if (known !== null && latest && known !== latest) location.hash = runAddress(latest, "analysis");
  }, [follow, list === null, newest?.grid_search_id]);

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
          value={follow}
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
    </div>
  );
}
