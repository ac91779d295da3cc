/** The flow board: where every experiment of a run is. */

import { setView, view } from "../app";
import { Field, Menu, Status } from "../controls";
import { columnsOf, shownStatus } from "../experiment_columns";
import { ActiveFilters, FilterField } from "../experiment_filters";
import { experimentAddress } from "../experiment_link";
import { filterExperiments, parseFilter, sortExperiments } from "../filter";
import { modesOf } from "../lines";
import type { Pool } from "../pool";
import type { RunStore } from "../run_store";
import { Table } from "../table";

export function Flow({ store }: { store: RunStore | Pool }) {
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
        <ActiveFilters shown={rows} run={run} />
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
        onOpen={(e) => (location.hash = experimentAddress(run, e))}
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
