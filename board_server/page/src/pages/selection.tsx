/** Choose experiments by a rule that can be read, shared and repeated; then compare them. */

import { useEffect, useState } from "preact/hooks";
import { download, runAddress, setView, view } from "../app";
import { configOf } from "../configs";
import { FIELD_NAMES, filterExperiments, hyperparameterNames, toCell } from "../filter";
import { csv, formatNumber, formatValue } from "../format";
import { modesOf, scoreMode } from "../lines";
import { applyRule, parseRule, type Rule } from "../rule";
import type { RunStore } from "../run_store";
import { orderScores } from "../score_order";
import { type Column, Table } from "../table";
import { flatten } from "../tree";
import { ScoreChart } from "./analysis";
import { ActiveFilters, FilterField } from "./flow";

const COMPARED = 12; // more columns or curves than this nobody compares by eye

interface RuleFieldProps {
  value: string;
  known: (name: string) => string | null;
  onCommit: (text: string) => void;
}

/** A text whose wrong part is underlined where it stands. */
function RuleField({ value, known, onCommit }: RuleFieldProps) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const parsed = parseRule(text, known);
  const [at, length] = parsed.ok ? [text.length, 0] : [parsed.at ?? 0, parsed.length ?? 1];
  return (
    <div class="rule">
      <label for="rule">Rule</label>
      <div class="stack">
        <div class="behind" aria-hidden="true">
          {text.slice(0, at)}
          {!parsed.ok && <mark>{text.slice(at, at + length) || " "}</mark>}
          {text.slice(at + length)}
        </div>
        <textarea
          id="rule"
          rows={2}
          spellcheck={false}
          value={text}
          data-shortcut="/"
          aria-invalid={!parsed.ok}
          aria-describedby="rule-says"
          onInput={(event) => {
            const next = event.currentTarget.value;
            setText(next);
            if (parseRule(next, known).ok) onCommit(next);
          }}
        />
      </div>
      <p id="rule-says" role="status" class={parsed.ok ? "none" : "error"}>
        {parsed.ok
          ? "top 5 by <score> max|min at best|last where <name> < 0.01 and status = DONE per <name>"
          : `${parsed.error} — the last rule that could be read stays in force.`}
      </p>
    </div>
  );
}

function Differences({ store, ids }: { store: RunStore; ids: readonly number[] }) {
  const [configs, setConfigs] = useState<Record<string, string>[] | null>(null);
  const key = ids.join();
  useEffect(() => {
    let stale = false;
    void Promise.all(ids.map((id) => configOf(store, id))).then((found) => {
      const own = (i: number) =>
        Object.fromEntries(
          Object.entries(store.run.experiments.get(ids[i]!)?.hyperparameters ?? {}).map(([k, v]) => [
            k,
            String(toCell(v)),
          ]),
        );
      if (!stale) setConfigs(found.map((config, i) => (config ? flatten(config) : own(i))));
    });
    return () => {
      stale = true;
    };
  }, [key]);
  if (!configs || configs.length !== ids.length) return <p class="none">Loading configs…</p>;
  const names = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  const differing = names.filter((name) => new Set(configs.map((config) => config[name])).size > 1);
  if (!differing.length) return <p class="none">Their configs do not differ.</p>;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Differences of configs">
      <table class="plain">
        <thead>
          <tr>
            <th>Config</th>
            {ids.map((id) => (
              <th key={id}>
                <a href={runAddress(store.id, "experiments", String(id))}>{id}</a>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {differing.map((name) => (
            <tr key={name}>
              <th>{name}</th>
              {configs.map((config, i) => (
                <td key={ids[i]}>{config[name] ?? "–"}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <small>{names.length - differing.length} entries are the same for all.</small>
    </div>
  );
}

export function Selection({ store }: { store: RunStore }) {
  void store.version.value;
  const { run } = store;
  const state = view.value;
  const swept = hyperparameterNames(run.experiments.values());
  const known = (name: string): string | null => {
    if (
      FIELD_NAMES.includes(name) ||
      swept.includes(name) ||
      run.scores.includes(name) ||
      run.scores.includes(name.replace(/^best /, ""))
    )
      return null;
    return `“${name}” is neither a score, a hyperparameter nor a field of this run; there are: ${[...run.scores, ...swept, ...FIELD_NAMES].join(", ")}`;
  };
  const main = run.monitor ?? orderScores(run.scores)[0] ?? "";
  const usual = main ? `top 5 by ${main} ${scoreMode(run, main)}` : "";
  const text = state.rule || usual;
  const parsed = parseRule(text); // names that a foreign address brings choose nothing, and are marked
  const rule: Rule | null = parsed.ok ? parsed.value : null;
  const pool = filterExperiments(run.experiments.values(), state.q, state.columns, modesOf(run));
  const mode = rule?.mode ?? (rule ? scoreMode(run, rule.by) : run.mode);
  const chosen = rule ? applyRule(rule, pool, modesOf(run)) : [];
  const ids = chosen.slice(0, COMPARED).map(({ experiment }) => experiment.id);
  const rows = chosen.map((one, i) => ({ ...one, place: i + 1 }));
  type Row = (typeof rows)[number];
  const columns: Column<Row>[] = [
    { id: "place", title: "Place", label: "", width: 60, numeric: true, cell: (row) => row.place },
    {
      id: "id",
      title: "Id",
      label: "",
      width: 56,
      cell: (row) => (
        <a href={runAddress(run.id, "experiments", String(row.experiment.id))}>{row.experiment.id}</a>
      ),
    },
    {
      id: "score",
      title: `${mode} ${rule?.by ?? ""}`,
      label: "",
      width: 130,
      numeric: true,
      cell: (row) => formatNumber(row.score, 5),
    },
    { id: "epoch", title: "Epoch", label: "", width: 64, numeric: true, cell: (row) => row.epoch },
    {
      id: "status",
      title: "Status",
      label: "",
      width: 90,
      cell: (row) => row.experiment.status.toLowerCase(),
    },
    ...swept.map(
      (name): Column<Row> => ({
        id: name,
        title: name,
        label: "",
        width: Math.max(90, name.length * 7),
        numeric: true,
        cell: (row) => formatValue(row.experiment.hyperparameters[name]),
      }),
    ),
  ];
  const exportRows = () => ({
    format: "mlgym_jax.selection",
    version: 1,
    grid_search_id: run.id,
    config_hash: run.configHash,
    event_id: run.eventId,
    rule: text,
    mode,
    filter: { q: state.q, columns: state.columns },
    chosen: chosen.map(({ experiment, score, epoch }) => ({
      experiment_id: experiment.id,
      fold: experiment.fold,
      score,
      epoch,
      hyperparameters: experiment.hyperparameters,
    })),
  });
  const compared = ids.map((id) => run.experiments.get(id)!);
  const metric = rule ? rule.by.slice(rule.by.indexOf("/")) : "";
  return (
    <div class="page sheet">
      <RuleField
        value={text}
        known={known}
        onCommit={(next) => setView({ rule: next === usual ? "" : next })}
      />
      <div class="bartop">
        <FilterField />
        <ActiveFilters shown={pool.length} total={run.experiments.size} />
        <span class="space" />
        <button
          type="button"
          disabled={!chosen.length}
          onClick={() => setView({ pick: chosen.map(({ experiment }) => experiment.id) })}
          title="Highlight them on every tab"
        >
          Choose these {chosen.length}
        </button>
        <button
          type="button"
          disabled={!rule}
          onClick={() =>
            download(`${run.id}-selection.json`, JSON.stringify(exportRows(), null, 2), "application/json")
          }
        >
          JSON
        </button>
        <button
          type="button"
          disabled={!rule}
          onClick={() =>
            download(
              `${run.id}-selection.csv`,
              csv([
                ["experiment_id", "fold", ...swept, rule?.by ?? "", "epoch"],
                ...chosen.map(({ experiment: e, score, epoch }) => [
                  e.id,
                  e.fold,
                  ...swept.map((name) => toCell(e.hyperparameters[name])),
                  score,
                  epoch,
                ]),
              ]),
              "text/csv",
            )
          }
        >
          CSV
        </button>
      </div>
      <div class="chosen" style={{ height: `${Math.min(6, Math.max(1, rows.length)) * 34 + 36}px` }}>
        <Table
          label="Chosen experiments"
          rows={rows}
          columns={columns}
          keyOf={(row) => row.experiment.id}
          onOpen={(row) => (location.hash = runAddress(run.id, "experiments", String(row.experiment.id)))}
        />
      </div>
      {rule && chosen.length === 0 && (
        <p class="none">No experiment fits: none has a finite {rule.by}, or the conditions exclude all.</p>
      )}
      {ids.length > 0 && (
        <>
          <section>
            <h2>What differs{chosen.length > COMPARED && ` (the first ${COMPARED})`}</h2>
            <Differences store={store} ids={ids} />
          </section>
          <section>
            <h2>Curves</h2>
            <div class="charts">
              {orderScores(run.scores)
                .filter((name) => name.endsWith(metric) || /\/loss$/.test(name))
                .map((name) => (
                  <ScoreChart key={name} store={store} name={name} experiments={compared} height={200} />
                ))}
            </div>
          </section>
        </>
      )}
    </div>
  );
}
