/** The experiments beside the charts: a legend, and the way to choose and hide some by keyboard. */

import { useSignalEffect } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { focused, setView, togglePick, view } from "./app";
import { useColouring } from "./colour_key";
import { css } from "./colours";
import { Score } from "./controls";
import { ExperimentLink, nameOf } from "./experiment_link";
import { hyperparameterNames, sortExperiments } from "./filter";
import { exactValue } from "./format";
import { hiddenAfter } from "./hidden";
import { labelOf } from "./labels";
import { describe, scoreMode } from "./lines";
import type { Pool } from "./pool";
import type { Experiment } from "./run_state";
import type { RunStore } from "./run_store";
import { Table } from "./table";

interface LegendProps {
  store: RunStore | Pool;
  experiments: readonly Experiment[];
  rankBy: string;
  version: number;
}

export function ExperimentLegend({ store, experiments, rankBy, version }: LegendProps) {
  const { run } = store;
  const { pick, group, hide } = view.value;
  const hidden = new Set(hide);
  const picked = new Set(pick);
  const mode = scoreMode(run, rankBy);
  const ranked = useMemo(
    () => sortExperiments([...experiments], `${mode === "max" ? "-" : ""}best ${rankBy}`, () => mode),
    [experiments, rankBy, mode, version],
  );
  const { rgbOf } = useColouring(store, experiments);
  const toggle = (id: number, only: boolean) =>
    setView({
      hide: hiddenAfter(
        view.value.hide,
        id,
        experiments.map((e) => e.id),
        only,
      ),
    });
  // What is the same for all tells nothing.
  const varied = useMemo(
    () =>
      hyperparameterNames(experiments).filter(
        (name) => new Set(experiments.map((e) => JSON.stringify(e.hyperparameters[name]))).size > 1,
      ),
    [experiments],
  );
  const box = useRef<HTMLDivElement>(null);
  useSignalEffect(() => {
    const id = view.value.group ? null : focused.value;
    for (const row of box.current?.querySelectorAll(".row.focused") ?? []) row.classList.remove("focused");
    if (id !== null)
      box.current?.querySelector(`[data-experiment="${id}"]`)?.closest(".row")?.classList.add("focused");
  });
  return (
    <div class="legend" ref={box}>
      <Table
        label="Experiments, best first"
        rows={ranked}
        rowHeight={44}
        keyOf={(e) => e.id}
        onHover={(e) => {
          focused.value = group ? null : (e?.id ?? null);
        }}
        onOpen={(e) => togglePick(e.id)}
        rowClass={(e) => `${picked.has(e.id) ? "picked" : ""} ${!group && hidden.has(e.id) ? "hides" : ""}`}
        columns={[
          {
            id: "name",
            label: "",
            title: "Experiment",
            width: 130,
            cell: (e) => (
              <span class="key" data-experiment={e.id} title={describe(e, exactValue)}>
                <input
                  type="checkbox"
                  aria-label={`Choose experiment ${nameOf(e)}`}
                  checked={picked.has(e.id)}
                  onChange={() => togglePick(e.id)}
                />
                {!group && (
                  <button
                    type="button"
                    class="bare swatch"
                    aria-pressed={!hidden.has(e.id)}
                    aria-label={`Draw experiment ${nameOf(e)}`}
                    title={`${hidden.has(e.id) ? "Draw" : "Hide"} its lines; with Shift: its lines alone`}
                    onClick={(event) => toggle(e.id, event.shiftKey)}
                  >
                    <i style={{ background: css(rgbOf(e.id)) }} />
                  </button>
                )}
                <ExperimentLink run={run} of={e} />
                <small>
                  {varied.map((name) => labelOf(run.experiments, name)(e.hyperparameters[name])).join(" · ")}
                </small>
              </span>
            ),
          },
          {
            id: "best",
            label: "",
            title: `${mode} ${rankBy}`,
            width: 130,
            numeric: true,
            cell: (e) => <Score value={e.best[rankBy]?.[mode]?.[1]} />,
          },
        ]}
      />
    </div>
  );
}
