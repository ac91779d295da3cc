/** The flow board: where every experiment of a run is. */

import { runAddress, setView, togglePick, view } from "../app";
import { Bar, Chip, Field, Menu, Status } from "../controls";
import {
  candidates,
  cellOf,
  epochOf,
  filterExperiments,
  hyperparameterNames,
  parseFilter,
  parseText,
  sortExperiments,
} from "../filter";
import { formatDuration, formatNumber, formatTime, formatValue } from "../format";
import { modesOf, scoreMode } from "../lines";
import type { Experiment, Run } from "../run_state";
import type { RunStore } from "../run_store";
import { type Column, Table } from "../table";

const score = (value: number | undefined) =>
  value === undefined ? "" : <span class={Number.isFinite(value) ? "" : "bad"}>{formatNumber(value)}</span>;

/** All columns there are, in the order in which they are shown; the first part is shown unless others are chosen. */
function columnsOf(run: Run): { columns: Column<Experiment>[]; usual: string[] } {
  const { pick } = view.value;
  const picked = new Set(pick);
  const experiments = [...run.experiments.values()];
  const fixed: Column<Experiment>[] = [
    {
      id: "experiment_id",
      title: "Id",
      label: "Experiment",
      width: 74,
      cell: (e) => (
        <>
          <input
            type="checkbox"
            aria-label={`Choose experiment ${e.id}`}
            checked={picked.has(e.id)}
            onChange={() => togglePick(e.id)}
          />
          <a href={runAddress(run.id, "experiments", String(e.id))}>{e.id}</a>
          {e.refit && <small class="tag">refit</small>}
        </>
      ),
    },
    {
      id: "status",
      title: "Job",
      label: "Job status",
      width: 84,
      cell: (e) => <Status status={shownStatus(run, e.status)} />,
    },
    {
      id: "model_status",
      title: "Model",
      label: "Model status",
      width: 124,
      cell: (e) => (
        <span title={e.error ?? ""}>
          {e.status === "FAILED"
            ? e.error
            : shownStatus(run, e.status) === "LOST"
              ? "" // what it did when it was last heard of, it does no more
              : String(cellOf(e, "model_status") ?? "").toLowerCase()}
        </span>
      ),
    },
    {
      id: "epoch",
      title: "Epoch",
      label: "Epoch",
      width: 104,
      cell: (e) => <Bar label="epoch" value={epochOf(e)} of={e.progress?.num_epochs ?? e.epochs} />,
    },
    {
      id: "batch",
      title: "Batch",
      label: "Batch",
      width: 104,
      cell: (e) =>
        e.progress && <Bar label="batch" value={e.progress.current_batch} of={e.progress.num_batches} />,
    },
    {
      id: "split",
      title: "Split",
      label: "Current split",
      width: 62,
      cell: (e) => e.progress?.current_split,
    },
  ];
  const swept = hyperparameterNames(experiments).map(
    (name): Column<Experiment> => ({
      id: name,
      title:
        name.split(".").length > 1 ? (
          <>
            <small>{name.split(".").slice(0, -1).join(".")}.</small>
            {name.split(".").at(-1)}
          </>
        ) : (
          name
        ),
      label: name,
      width: Math.min(190, Math.max(84, name.length * 7.4 + 30)),
      numeric: experiments.some((e) => typeof e.hyperparameters[name] === "number"),
      cell: (e) => formatValue(e.hyperparameters[name]),
    }),
  );
  const scores = run.scores.flatMap((name): Column<Experiment>[] => [
    {
      id: name,
      title: name,
      label: `${name}, latest`,
      width: Math.max(88, name.length * 7.4 + 30),
      numeric: true,
      cell: (e) => score(e.last[name]),
    },
    {
      id: `best ${name}`,
      title: (
        <>
          <small>best</small> {name}
        </>
      ),
      label: `${name}, best (${scoreMode(run, name)})`,
      width: Math.max(112, name.length * 7.4 + 62),
      numeric: true,
      cell: (e) => {
        const best = e.best[name]?.[scoreMode(run, name)];
        return (
          best && (
            <>
              {formatNumber(best[1])} <small>@ {best[0]}</small>
            </>
          )
        );
      },
    },
  ]);
  const more: Column<Experiment>[] = [
    { id: "fold", title: "Fold", label: "Fold", width: 60, numeric: true, cell: (e) => e.fold },
    { id: "round", title: "Round", label: "Round", width: 64, numeric: true, cell: (e) => e.round },
    { id: "refit", title: "Refit", label: "Refit", width: 60, cell: (e) => cellOf(e, "refit") },
    { id: "device", title: "Device", label: "Device", width: 90, cell: (e) => e.device },
    { id: "started", title: "Start", label: "Start", width: 90, cell: (e) => formatTime(e.started) },
    {
      id: "finished",
      title: "Finish",
      label: "Finish",
      width: 120,
      cell: (e) =>
        e.finished && (
          <span title={e.seconds > 0 ? `trained for ${formatDuration(e.seconds * 1000)}` : ""}>
            {formatTime(e.finished)}
          </span>
        ),
    },
    {
      id: "checkpoint",
      title: "Checkpoint",
      label: "Newest kept checkpoint",
      width: 96,
      numeric: true,
      cell: (e) => (e.checkpoint < 0 ? "" : e.checkpoint),
    },
  ];
  const main = [run.monitor, ...run.scores]
    .filter((name): name is string => name !== null && !name.startsWith("train/"))
    .slice(0, 3);
  const usual = [
    ...fixed.map(({ id }) => id),
    ...swept.map(({ id }) => id),
    ...(experiments.some((e) => e.fold !== null) ? ["fold"] : []),
    ...new Set(main.slice(0, 1).flatMap((name) => [name, `best ${name}`])),
    ...[...new Set(main.slice(1))].filter((name) => name !== main[0]),
    "device",
    "started",
    "finished",
  ];
  return { columns: [...fixed, ...swept, ...scores, ...more], usual };
}

export function FilterField({ hidden = true }: { hidden?: boolean }) {
  return (
    <Field
      label="Filter experiments"
      hidden={hidden}
      wide
      value={view.value.q}
      placeholder="filter: text or /regex/"
      check={parseText}
      shortcut="/"
      onCommit={(q) => setView({ q })}
    />
  );
}

/** Says which column filters are in force, so that none is forgotten on another tab. */
export function ActiveFilters({ shown, total }: { shown: number; total: number }) {
  const { columns, pick, q } = view.value;
  const active = Object.entries(columns);
  return (
    <div class="active">
      <small class="count" role="status">
        {shown === total
          ? `${total.toLocaleString("en")} experiments`
          : `${shown.toLocaleString("en")} of ${total.toLocaleString("en")} experiments`}
      </small>
      {active.map(([column, text]) => (
        <Chip
          key={column}
          title="Remove this filter"
          onRemove={() => setView({ columns: { ...columns, [column]: "" } })}
        >
          {column} {text}
        </Chip>
      ))}
      {pick.length > 0 && (
        <Chip title="Choose none" onRemove={() => setView({ pick: [] })}>
          {pick.length} chosen
        </Chip>
      )}
      {(q || active.length > 0) && (
        <button type="button" class="link" onClick={() => setView({ q: "", columns: {} })}>
          clear filters
        </button>
      )}
    </div>
  );
}

/** Says where refits are, and why they are not among what is compared. */
export function RefitNote({ run }: { run: Run }) {
  const count = run.experiments.size - candidates(run.experiments.values()).length;
  if (!count) return null;
  return (
    <p class="none">
      {count} {count > 1 ? "refits are" : "refit is"} left out: a refit trains on all data, so its scores do
      not compare.
    </p>
  );
}

/** What has not ended in a run that nobody writes any more does not run. */
function shownStatus(run: Run, status: string): string {
  return run.status === "LOST" && /INIT|RUNNING/.test(status) ? "LOST" : status;
}

export function Flow({ store }: { store: RunStore }) {
  void store.version.value;
  const { run } = store;
  const { q, columns: filters, sort, show, pick } = view.value;
  const { columns, usual } = columnsOf(run);
  const chosen = show ?? usual;
  const visible = chosen
    .map((id) => columns.find((column) => column.id === id))
    .filter((column) => column !== undefined);
  const modes = modesOf(run);
  const rows = sortExperiments(filterExperiments(run.experiments.values(), q, filters, modes), sort, modes);
  const picked = new Set(pick);
  const counts = new Map<string, number>();
  for (const { status } of run.experiments.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
  return (
    <div class="page">
      <div class="bartop">
        <FilterField />
        <ActiveFilters shown={rows.length} total={run.experiments.size} />
        <span class="space" />
        <span class="tally">
          {[...counts].map(([status, count]) => (
            <button
              type="button"
              class="bare"
              key={status}
              title={`Show only ${status}`}
              onClick={() => setView({ columns: { ...filters, status: filters.status ? "" : `=${status}` } })}
            >
              <Status status={shownStatus(run, status)} note={count.toLocaleString("en")} />
            </button>
          ))}
        </span>
        <Menu label="Columns">
          <div class="checks">
            {columns.map(({ id, label }) => (
              <label key={id}>
                <input
                  type="checkbox"
                  checked={chosen.includes(id)}
                  onChange={(event) => {
                    const on = event.currentTarget.checked;
                    setView({
                      show: columns
                        .map((c) => c.id)
                        .filter((other) => (other === id ? on : chosen.includes(other))),
                    });
                  }}
                />
                {label}
              </label>
            ))}
          </div>
          <button type="button" onClick={() => setView({ show: null })}>
            The usual columns
          </button>
        </Menu>
      </div>
      <Table
        label="Experiments"
        rows={rows}
        columns={visible}
        keyOf={(e) => e.id}
        sort={sort}
        onSort={(next) => setView({ sort: next })}
        rowClass={(e) => (picked.has(e.id) ? "picked" : "")}
        onOpen={(e) => (location.hash = runAddress(run.id, "experiments", String(e.id)))}
        filterRow={(column) => (
          <Field
            label={`Filter ${column.label}`}
            hidden
            value={filters[column.id] ?? ""}
            placeholder={column.numeric ? "< 1" : "text"}
            check={(text) => parseFilter(column.id, text)}
            onCommit={(text) => setView({ columns: { ...view.value.columns, [column.id]: text } })}
          />
        )}
      />
      {rows.length === 0 && (
        <p class="none">
          {run.experiments.size
            ? "No experiment fits these filters."
            : "No experiment has been scheduled yet."}
        </p>
      )}
    </div>
  );
}
