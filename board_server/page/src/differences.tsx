/** The entries of several experiments' configs that are not the same for all. */

import { useEffect, useState } from "preact/hooks";
import { formatIds } from "./address";
import type { Member } from "./choose";
import { configOf } from "./configs";
import { ExperimentLink } from "./experiment_link";
import { exactValue } from "./format";
import type { Pool } from "./pool";
import type { RunStore } from "./run_store";
import { flatten } from "./tree";

interface DifferencesProps {
  store: RunStore | Pool;
  /** One list a column: the members of a candidate, which differ in nothing but what is averaged over. */
  columns: readonly (readonly Member[])[];
  over: readonly string[];
}

export function Differences({ store, columns, over }: DifferencesProps) {
  const [configs, setConfigs] = useState<Record<string, string>[] | null>(null);
  const firsts = columns.map((members) => members[0]!.experiment);
  const key = firsts.map(({ id }) => id).join();
  useEffect(() => {
    let stale = false;
    void Promise.all(firsts.map((one) => configOf(store, one))).then((found) => {
      const own = (i: number) =>
        Object.fromEntries(Object.entries(firsts[i]!.hyperparameters).map(([k, v]) => [k, exactValue(v)]));
      if (!stale) setConfigs(found.map((config, i) => (config ? flatten(config) : own(i))));
    });
    return () => {
      stale = true;
    };
  }, [key]);
  if (!configs || configs.length !== columns.length) return <p class="none">Loading configs…</p>;
  const names = [...new Set(configs.flatMap((config) => Object.keys(config)))].filter(
    (name) => !over.includes(name),
  );
  const differing = names.filter((name) => new Set(configs.map((config) => config[name])).size > 1);
  if (!differing.length) return <p class="none">Their configs do not differ.</p>;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Differences of configs">
      <table class="plain">
        <thead>
          <tr>
            <th>Config</th>
            {columns.map((members, i) => {
              const { experiment } = members[0]!;
              return (
                <th key={experiment.id}>
                  {members.length > 1 ? (
                    <>
                      {i + 1}.{" "}
                      <small>
                        {experiment.run} {formatIds(members.map(({ experiment: { own } }) => own))}
                      </small>
                    </>
                  ) : (
                    <ExperimentLink run={store.run} of={experiment} full />
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {differing.map((name) => (
            <tr key={name}>
              <th>{name}</th>
              {configs.map((config, i) => (
                <td key={firsts[i]!.id}>{config[name] ?? "–"}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <small>{names.length - differing.length} entries are the same for all.</small>
    </div>
  );
}
