/** Which experiments a page shows, and what it says of those that it leaves out. */

import { setView, view } from "./app";
import { Chip, Field } from "./controls";
import { candidates, parseText } from "./filter";
import type { Run } from "./run_state";

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
