/** Tables of runs that are compared: their scores, and what differs. */

import { formatAddress } from "./address";
import { dark, runAddress, view } from "./app";
import { colourOf, css } from "./colours";
import { Score, Status } from "./controls";
import { exactValue, formatNumber, formatValue } from "./format";
import type { Json } from "./json";
import type { Comparison, Mean, Side } from "./run_sides";
import { writeView } from "./view_state";
import type { RunRow } from "./wire";

const DIFFERENCES = [
  ["config", "Config"],
  ["versions", "Versions"],
  ["code", "Code and data"],
] as const;

const addressOf = (runs: readonly string[]) =>
  formatAddress(["compare"], writeView({ ...view.value, runs, pick: [] }));

/** A mean with the ends of its interval. */
function Interval({ of, signed }: { of: Mean | null | undefined; signed?: boolean }) {
  if (!of) return null;
  const sign = signed && of.mean > 0 ? "+" : "";
  return (
    <span class="interval" title={String(of.mean)}>
      {sign}
      {formatNumber(of.mean)}
      {of.low !== null && of.high !== null && (
        <small>
          {" "}
          [{formatNumber(of.low)}, {formatNumber(of.high)}]
        </small>
      )}
    </span>
  );
}

interface TableProps {
  ids: readonly string[];
  shown: readonly (Side | undefined)[];
  found: Comparison | null;
  by: string;
  rows: ReadonlyMap<string, RunRow>;
  labelOf: (id: string) => string;
}

export function RunsTable({ ids, shown, found, by, rows, labelOf }: TableProps) {
  const score = found?.scores.find(({ name }) => name === by);
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="The runs">
      <table class="plain">
        <thead>
          <tr>
            <th>Run</th>
            <th>Status</th>
            <th>Best {by}</th>
            <th>Mean [95 %]</th>
            <th>n</th>
            <th>Above the first [95 %]</th>
            <th class="long">Hyperparameters of its best candidate</th>
            <td />
          </tr>
        </thead>
        <tbody>
          {ids.map((id, i) => {
            const side = shown[i];
            const selected = side?.selected;
            const at = found?.runs.indexOf(id) ?? -1;
            const mean = score?.runs[at];
            return (
              <tr key={id}>
                <th>
                  <span class="key">
                    <i style={{ background: css(colourOf(i, dark.value)) }} />
                    <a href={runAddress(id)} title={id}>
                      {labelOf(id)}
                    </a>
                  </span>
                </th>
                <td>{rows.has(id) && <Status status={rows.get(id)!.status} />}</td>
                {side?.problem ? (
                  <td colSpan={5} class="long bad">
                    {side.problem}
                  </td>
                ) : (
                  <>
                    <td>
                      {selected && selected.monitor === by && (
                        <a href={runAddress(id, "experiments", String(selected.best_experiment_id))}>
                          <Score value={selected.best_score} />
                        </a>
                      )}
                    </td>
                    <td>
                      <Interval of={mean} />
                    </td>
                    <td>{mean?.num}</td>
                    <td>{at === 0 ? "is the first" : <Interval of={score?.differences[at]} signed />}</td>
                    <td class="long">
                      {selected &&
                        Object.entries(selected.hyperparameters)
                          .map(([name, value]) => `${name}=${formatValue(value)}`)
                          .join(", ")}
                      {side && !selected && "no score yet"}
                    </td>
                  </>
                )}
                <td>
                  {i > 0 && (
                    <a
                      href={addressOf([id, ...ids.filter((one) => one !== id)])}
                      title={`Compare the others with ${labelOf(id)}`}
                    >
                      first
                    </a>
                  )}{" "}
                  <a
                    class="mark"
                    href={addressOf(ids.filter((one) => one !== id))}
                    aria-label={`Leave ${labelOf(id)} out`}
                  >
                    ×
                  </a>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <small>
        Means over seeds and folds with Student's 95 % interval, over folds corrected as Nadeau and Bengio do;
        differences with Welch's.
      </small>
    </div>
  );
}

/** What is not the same of all runs. */
export function Differing({ found, labelOf }: { found: Comparison; labelOf: (id: string) => string }) {
  const swept: Record<string, Json[]> = {};
  for (const name of new Set(found.selected.flatMap((one) => Object.keys(one?.hyperparameters ?? {})))) {
    const values = found.selected.map((one) => one?.hyperparameters[name] ?? null);
    if (new Set(values.map((one) => JSON.stringify(one))).size > 1) swept[name] = values;
  }
  const parts: [string, Record<string, Json[]>][] = [
    ["Hyperparameters", swept],
    ...DIFFERENCES.map(([key, title]): [string, Record<string, Json[]>] => [title, found[key]]),
  ];
  return (
    <section>
      <h2>What differs</h2>
      <div class="scroll" tabIndex={0} role="group" aria-label="What differs">
        <table class="plain">
          <thead>
            <tr>
              <td />
              {found.runs.map((id) => (
                <th key={id} class="long">
                  {labelOf(id)}
                </th>
              ))}
            </tr>
          </thead>
          {parts.map(([title, rows]) => (
            <tbody key={title}>
              <tr>
                <th>{title}</th>
                {Object.keys(rows).length === 0 && (
                  <td colSpan={found.runs.length} class="long">
                    no difference
                  </td>
                )}
              </tr>
              {Object.entries(rows).map(([name, values]) => (
                <tr key={name}>
                  <th class="within">{name}</th>
                  {values.map((value, i) => (
                    <td key={found.runs[i]} class="long">
                      {value === null ? "–" : exactValue(value)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          ))}
        </table>
      </div>
    </section>
  );
}
