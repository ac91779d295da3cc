/** Which experiments a page shows, and what it says of those that it leaves out. */

import { setView, view } from "./app";
import { Chip, Field } from "./controls";
import { candidates, parseText } from "./filter";
import type { Experiment, Run } from "./run_state";

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

/** `20 experiments and 1 refit`; of a part `6 of 20 experiments`. Refits are counted apart, as everywhere. */
export function countOf(run: Run, shown: readonly Experiment[] = [...run.experiments.values()]): string {
  const { size } = run.experiments;
  const all = candidates(run.experiments.values()).length;
  const some = candidates(shown).length;
  const [refits, others] = [shown.length - some, size - all];
  const part = (count: number, of: number, one: string) =>
    `${count === of ? "" : `${count.toLocaleString("en")} of `}${of.toLocaleString("en")} ${one}${of === 1 ? "" : "s"}`;
  const trained = part(some, all, "experiment");
  return refits ? `${trained} and ${part(refits, others, "refit")}` : trained;
}

/** Says which column filters are in force, so that none is forgotten on another tab. */
export function ActiveFilters({ shown, run }: { shown: readonly Experiment[]; run: Run }) {
  const { columns, pick, q } = view.value;
  const active = Object.entries(columns);
  return (
    <div class="active">
      <small class="count" role="status">
        {countOf(run, shown)}
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
