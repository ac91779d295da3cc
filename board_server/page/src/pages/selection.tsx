/** Choose experiments by a rule that can be read, shared and repeated; then compare them. */

import { useEffect, useMemo } from "preact/hooks";
import { download, setView, view } from "../app";
import { ChartChips } from "../chart_chips";
import { applyRule, type Chosen, memberOf, summary } from "../choose";
import { Score, Short, Toggle } from "../controls";
import { Differences } from "../differences";
import { Dotted, widthOf } from "../experiment_columns";
import { ActiveFilters, FilterField, RefitNote } from "../experiment_filters";
import { ExperimentLink, experimentAddress } from "../experiment_link";
import { candidates, FIELD_NAMES, filterExperiments, hyperparameterNames, isForeign } from "../filter";
import { exactValue } from "../format";
import { labelOf } from "../labels";
import { modesOf, scoreMode } from "../lines";
import { nearest } from "../nearest";
import { nestedEstimate, nestedOf } from "../nested";
import type { Pool } from "../pool";
import { parseRule, quoted, type Rule } from "../rule";
import { RuleField } from "../rule_field";
import type { Experiment, Run } from "../run_state";
import { RunStore } from "../run_store";
import { ScoreChart } from "../score_chart";
import { orderScores, rankingScore } from "../score_order";
import { selectionCsv, selectionJson } from "../selection_export";
import { type Column, Table } from "../table";

const COMPARED = 12; // more columns than this nobody compares by eye

/** The rule of a run for which none was written: as the engine selects, over folds and seeds where there are folds. */
function usualRule(run: Run, swept: readonly string[]): string {
  const main = rankingScore(run, "");
  if (!main) return "";
  const hasFolds = candidates(run.experiments.values()).some(({ fold }) => fold !== null);
  const over = hasFolds ? ` mean over fold${swept.includes("seed") ? ", seed" : ""}` : "";
  return `top 5 by ${quoted(main)} ${scoreMode(run, main)}${over}`;
}

function stateOf(experiment: Experiment, score: string): string {
  const last = experiment.last[score];
  const diverged = experiment.status !== "FAILED" && last !== undefined && !Number.isFinite(last);
  return diverged ? "diverged" : experiment.status.toLowerCase();
}

/** `done`, or `4 done, 1 failed` of several. */
function statesOf({ members }: Chosen, score: string): string {
  const counts = new Map<string, number>();
  for (const { experiment } of members) {
    const state = stateOf(experiment, score);
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return [...counts].map(([state, n]) => (members.length > 1 ? `${n} ${state}` : state)).join(", ");
}

type Row = Chosen & { place: number };

function columnsOf(
  run: Run,
  rule: Rule,
  mode: string,
  swept: readonly string[],
  ranked: boolean,
): Column<Row>[] {
  const averaged = rule.over.length > 0;
  const column = (id: string, title: string, width: number, cell: Column<Row>["cell"], numeric = true) => ({
    id,
    title: title.includes(".") ? <Dotted name={title} /> : title,
    label: "",
    width,
    numeric,
    cell,
  });
  const id = column(
    "id",
    averaged ? "Members" : "Id",
    averaged ? 150 : 84,
    ({ members }) =>
      members.map(({ experiment }) => (
        <span key={experiment.id}>
          <ExperimentLink run={run} of={experiment} full={!averaged && experiment.run === null} />{" "}
        </span>
      )),
    false,
  );
  const some = [...run.experiments.values()].slice(0, 200);
  const texts = (name: string) =>
    some.map(({ hyperparameters }) => labelOf(run.experiments, name)(hyperparameters[name]));
  return [
    ranked && column("place", "Place", 60, ({ place }) => place),
    !averaged && id,
    column(
      "score",
      `${averaged ? "mean of " : ""}${mode} ${rule.by}`,
      averaged ? 180 : 130,
      ({ scored, score }) => (scored ? <Score value={score} digits={5} /> : <span class="bad">none</span>),
    ),
    averaged &&
      column("deviation", "Deviation", 88, ({ deviation }) => <Score value={deviation} digits={5} />),
    ...swept
      .filter((name) => !rule.over.includes(name))
      .map((name) =>
        column(name, name, widthOf(name, texts(name)), ({ members: [first] }) => {
          const value = first!.experiment.hyperparameters[name];
          return <Short text={labelOf(run.experiments, name)(value)} exact={exactValue(value)} />;
        }),
      ),
    averaged &&
      column("of", "Scored", 72, ({ scored, of }) => (
        <span class={scored < of ? "bad" : ""}>
          {scored} of {of}
        </span>
      )),
    column("epoch", "Epoch", 64, ({ scored, epoch }) => (scored ? epoch : "")),
    column("status", "Status", averaged ? 150 : 90, (row) => statesOf(row, rule.by), false),
    averaged && id,
  ].filter(Boolean) as Column<Row>[];
}

/** What the inner means below are not: how well the selected ones do on data that took no part in it. */
function NestedResult({ store }: { store: RunStore }) {
  const { run } = store;
  const nested = nestedOf(run);
  useEffect(() => {
    if (nested) store.need(nested.test);
  }, [nested?.test]);
  if (!nested) return null;
  const curves = store.curvesOf(nested.test, false);
  const found = nestedEstimate(run, nested, (id, epoch) => curves?.get(id)?.at(epoch) ?? NaN);
  return (
    <p class="active" role="status">
      <b>
        Nested cross validation: {nested.test}{" "}
        {found ? (
          <>
            <Score value={found.mean} />
            {found.deviation !== null && (
              <>
                {" ± "}
                <Score value={found.deviation} />
              </>
            )}{" "}
            over {found.folds} folds
          </>
        ) : (
          "is there when all outer folds have their scores"
        )}
      </b>
      <small>
        of what each outer fold's inner folds select. Means of {nested.monitor} over inner folds, as below,
        are those of the data that selected: they flatter.
      </small>
    </p>
  );
}

const NO_RULE: Rule = { top: null, by: "", mode: null, at: "best", over: [], where: null, per: null };

export function Selection({ store }: { store: RunStore | Pool }) {
  void store.version.value;
  const { run } = store;
  const state = view.value;
  const all = [...run.experiments.values()];
  const swept = hyperparameterNames(all);
  const known = (name: string): string | null => {
    if (!isForeign(name, all)) return null;
    const names = [...orderScores(run.scores, run.monitor), ...swept, ...FIELD_NAMES];
    const meant = nearest(name, names);
    const says = `“${name}” is neither a score, a hyperparameter nor a field of this run`;
    return meant ? `${says}; did you mean ${quoted(meant)}?` : `${says}; there are: ${names.join(", ")}`;
  };
  const usual = usualRule(run, swept);
  const text = state.rule || usual;
  const parsed = parseRule(text); // names that a foreign address brings choose nothing, and are marked
  const byHand = state.compare === "chosen";
  const rule = { ...(parsed.ok ? parsed.value : NO_RULE), ...(byHand ? { over: [] } : {}) };
  const pool = filterExperiments(all, state.q, state.columns, modesOf(run));
  const mode = rule.mode ?? scoreMode(run, rule.by);
  const picked = state.pick.map((id) => run.experiments.get(id)).filter((one) => one !== undefined);
  const chosen = byHand
    ? picked.map((one) => summary([memberOf(rule, mode, one)], 1))
    : parsed.ok
      ? applyRule(rule, pool, modesOf(run), all)
      : [];
  const first = chosen.slice(0, COMPARED).map(({ members }) => members);
  const members = chosen.flatMap((one) => one.members.map(({ experiment }) => experiment));
  const compared = first.flat().map(({ experiment }) => experiment);
  // The same list as long as it holds the same, so that charts keep their lines.
  const drawn = useMemo(() => compared, [run, compared.map(({ id }) => id).join()]);
  const metric = rule.by.slice(rule.by.indexOf("/"));
  return (
    <div class="page sheet">
      <RuleField
        value={text}
        usual={usual}
        known={known}
        onCommit={(next) => setView({ rule: next === usual ? "" : next })}
      />
      <div class="bartop">
        <FilterField />
        <ActiveFilters shown={pool} run={run} />
        <span class="space" />
        {(picked.length > 0 || byHand) && (
          <Toggle
            label={`Compare the ${picked.length} chosen`}
            value={byHand}
            onChange={(on) => setView({ compare: on ? "chosen" : "" })}
          />
        )}
        <button
          type="button"
          disabled={!chosen.length || byHand}
          onClick={() => setView({ pick: members.map(({ id }) => id) })}
          title="Highlight them on every tab"
        >
          Choose {members.length === 1 ? "it" : `these ${members.length}`}
        </button>
        <button
          type="button"
          disabled={!chosen.length}
          onClick={() =>
            download(
              `${run.id}-selection.json`,
              selectionJson(run, state, text, rule, mode, chosen),
              "application/json",
            )
          }
        >
          JSON
        </button>
        <button
          type="button"
          disabled={!chosen.length}
          onClick={() => download(`${run.id}-selection.csv`, selectionCsv(swept, rule, chosen), "text/csv")}
        >
          CSV
        </button>
      </div>
      {store instanceof RunStore && <NestedResult store={store} />}
      {!byHand && <RefitNote run={run} />}
      {!byHand && chosen.some(({ scored, of }) => scored < of) && (
        <p class="none">Candidates of which not all members have a score come after all others.</p>
      )}
      <div class="chosen" style={{ height: `${Math.min(6, Math.max(1, chosen.length)) * 34 + 36}px` }}>
        <Table
          label="Chosen experiments"
          rows={chosen.map((one, i) => ({ ...one, place: i + 1 }))}
          columns={columnsOf(run, rule, mode, swept, !byHand)}
          keyOf={({ members: [one] }) => one!.experiment.id}
          onOpen={({ members: [one] }) => (location.hash = experimentAddress(run, one!.experiment))}
        />
      </div>
      {chosen.length === 0 && (
        <p class="none">
          {byHand
            ? "None is chosen: tick some in Flow, or click lines in Analysis."
            : parsed.ok
              ? `No experiment fits: none has a finite ${rule.by}, or the conditions exclude all.`
              : "No results yet."}
        </p>
      )}
      {first.length > 0 && (
        <>
          <section>
            <h2>What differs{chosen.length > COMPARED && ` (the first ${COMPARED})`}</h2>
            <Differences store={store} columns={first} over={rule.over} />
          </section>
          <section>
            <h2>Curves</h2>
            <ChartChips />
            <div class="charts">
              {orderScores(run.scores, rule.by)
                .filter((name) => name.endsWith(metric) || /\/loss$/.test(name))
                .map((name) => (
                  <ScoreChart key={name} store={store} name={name} experiments={drawn} height={200} />
                ))}
            </div>
          </section>
        </>
      )}
    </div>
  );
}
