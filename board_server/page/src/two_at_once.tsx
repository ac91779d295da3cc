/** Two hyperparameters or scores over each other: a heat map of their values, or dots where one is a score. */

import { useMemo } from "preact/hooks";
import { dark, setView, view } from "./app";
import type { Scored } from "./canvas";
import { css, inkOn, sequentialColour } from "./colours";
import { Select } from "./controls";
import { cellOf, hyperparameterNames } from "./filter";
import { formatNumber } from "./format";
import { heatMap } from "./heat_map";
import { cellLabelOf } from "./labels";
import { modesOf } from "./lines";
import type { Run } from "./run_state";
import { scaleOf } from "./scales";
import { Scatter, type ScatterAxis } from "./scatter";
import { orderScores } from "./score_order";

const MOST = 40; // rows and columns that a person can still read

interface TwoAtOnceProps {
  run: Run;
  scored: readonly Scored[];
  by: string;
  mode: "max" | "min";
  /** The hyperparameters, that first which matters most. */
  names: readonly string[];
  colour: (score: number | null) => string;
}

export function TwoAtOnce({ run, scored, by, mode, names, colour }: TwoAtOnceProps) {
  const { at, mapX, mapY } = view.value;
  const x = mapX || names.find((name) => name !== mapY) || by;
  const y = mapY || names.find((name) => name !== x) || by;
  const swept = hyperparameterNames(run.experiments.values());
  const scores = orderScores(run.scores, by);
  const options = [...swept, ...scores].map((name): [string, string] => [name, name]);
  const axisOf = (name: string): ScatterAxis => {
    const isScore = !swept.includes(name);
    const modes = modesOf(run);
    const column = isScore && at === "best" ? `best ${name}` : name;
    const of = ({ experiment }: Scored) => {
      const cell = cellOf(experiment, column, modes);
      return isScore && !Number.isFinite(cell ?? NaN) ? null : cell;
    };
    return { name: column, scale: scaleOf(scored.map(of), cellLabelOf(run.experiments, name)), of };
  };
  return (
    <section class="card stretch">
      <h2>Two at once</h2>
      <div class="controls">
        <Select
          label="Across"
          value={x}
          options={options}
          onChange={(next) => setView({ mapX: next, mapY: y })}
        />
        <Select
          label="Up"
          value={y}
          options={options}
          onChange={(next) => setView({ mapX: x, mapY: next })}
        />
      </div>
      {swept.includes(x) && swept.includes(y) ? (
        <Heat run={run} scored={scored} names={[x, y]} by={by} mode={mode} />
      ) : (
        <Scatter
          title={`${y} over ${x}`}
          x={axisOf(x)}
          y={axisOf(y)}
          scored={scored}
          colour={colour}
          height={300}
        />
      )}
    </section>
  );
}

interface HeatProps {
  run: Run;
  scored: readonly Scored[];
  names: readonly [string, string];
  by: string;
  mode: "max" | "min";
}

function Heat({ run, scored, names, by, mode }: HeatProps) {
  const [x, y] = names;
  const map = useMemo(
    () => heatMap(scored, names, [cellLabelOf(run.experiments, x), cellLabelOf(run.experiments, y)], mode),
    [scored, x, y, mode],
  );
  const { cells, columns, rows } = map;
  if (columns.length > MOST || rows.length > MOST)
    return (
      <p class="none">
        {columns.length > MOST ? x : y} has {Math.max(columns.length, rows.length)} values, more than a map
        can show; filter some, or choose another.
      </p>
    );
  const { pick } = view.value;
  const picked = new Set(pick);
  return (
    <>
      <p class="none">
        The mean {by} of the experiments with each pair of values, from {dark.value ? "dark" : "light"}, the
        worst rank, to {dark.value ? "light" : "dark"}, the best; more than eight numbers are put into eight
        parts of equal width. A click chooses the experiments of a cell.
      </p>
      <div class="scroll" tabIndex={0} role="group" aria-label={`Map of ${x} and ${y}`}>
        <table class="heat">
          <caption>
            ↑ {y}, → {x}
          </caption>
          <tbody>
            {[...rows.keys()].reverse().map((row) => (
              <tr key={rows[row]}>
                <th scope="row">{rows[row]}</th>
                {cells[row]!.map((cell, column) => {
                  if (!cell) return <td key={columns[column]} />;
                  const { deviation, ids, mean, scored: count, share } = cell;
                  const rgb = sequentialColour(share, dark.value);
                  const score = mean === null ? "no score" : formatNumber(mean);
                  const spread = deviation === null ? "" : ` ± ${formatNumber(deviation, 2)}`;
                  const of = count === ids.length ? `${count}` : `${count} of ${ids.length}`;
                  const where = `${x} ${columns[column]}, ${y} ${rows[row]}`;
                  return (
                    <td key={columns[column]}>
                      <button
                        type="button"
                        title={`${where}: ${score}${spread}, of ${of}`}
                        aria-pressed={ids.every((id) => picked.has(id))}
                        style={mean === null ? {} : { background: css(rgb), color: inkOn(rgb) }}
                        onClick={() => setView({ pick: ids })}
                      >
                        <span class="hidden">{where}: </span>
                        {mean === null ? "–" : score} <small>of {of}</small>
                      </button>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
          <tfoot>
            <tr>
              <td />
              {columns.map((name) => (
                <th scope="col" key={name}>
                  {name}
                </th>
              ))}
            </tr>
          </tfoot>
        </table>
      </div>
    </>
  );
}
