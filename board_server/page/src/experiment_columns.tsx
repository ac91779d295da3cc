/** The columns of the table of experiments. */

import { togglePick, view } from "./app";
import { Aligned, Bar, decimals, Score, Short, Status } from "./controls";
import { ExperimentLink, nameOf } from "./experiment_link";
import { cellOf, epochOf, hyperparameterNames } from "./filter";
import { exactValue, formatDuration, formatMoment, formatTime } from "./format";
import { labelOf } from "./labels";
import { scoreMode } from "./lines";
import type { Experiment, Run } from "./run_state";
import type { Column } from "./table";

/** A dotted name, whose last part is the last to be cut. */
export function Dotted({ name }: { name: string }) {
  const at = name.lastIndexOf(".") + 1;
  return at ? (
    <span class="dotted">
      <small>{name.slice(0, at)}</small>
      <span>{name.slice(at)}</span>
    </span>
  ) : (
    name
  );
}

const MOST = 260; // that a name gets: an ellipsis ends it, and a tip has it whole

/** Room for the last part of a name, and for the longest text. */
export function widthOf(name: string, texts: readonly string[]): number {
  const last = name.slice(name.lastIndexOf(".") + 1);
  const longest = Math.max(0, ...texts.map(({ length }) => length));
  return Math.max(
    84,
    Math.min(150, name.length * 7.4 + 30),
    Math.min(MOST, last.length * 8 + 44),
    Math.min(420, longest * 8.6 + 24),
  );
}

/** A hyperparameter's value; of numbers the decimal points stand below each other. */
function alignedCell(experiments: readonly Experiment[], name: string, textOf: (e: Experiment) => string) {
  const isNumeric = (e: Experiment) => typeof e.hyperparameters[name] === "number";
  const places = Math.max(
    0,
    ...experiments
      .filter(isNumeric)
      .slice(0, 200)
      .map((e) => decimals(textOf(e))),
  );
  return (e: Experiment) => {
    const short = <Short text={textOf(e)} exact={exactValue(e.hyperparameters[name])} />;
    return isNumeric(e) && places ? (
      <Aligned text={textOf(e)} places={places}>
        {short}
      </Aligned>
    ) : (
      short
    );
  };
}

/** All columns there are, in the order in which they are shown: the answer first, then what led to it; the first part is shown unless others are chosen. */
export function columnsOf(run: Run): { columns: Column<Experiment>[]; usual: string[] } {
  const { pick } = view.value;
  const picked = new Set(pick);
  const experiments = [...run.experiments.values()];
  const fixed: Column<Experiment>[] = [
    {
      id: "experiment_id",
      title: "Id",
      label: "Experiment",
      width: 74,
      frozen: true,
      cell: (e) => (
        <>
          <input
            type="checkbox"
            aria-label={`Choose experiment ${nameOf(e)}`}
            checked={picked.has(e.id)}
            onChange={() => togglePick(e.id)}
          />
          <ExperimentLink run={run} of={e} />
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
      width: 100,
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
  const textOf = (name: string) => {
    const label = labelOf(run.experiments, name);
    return (e: Experiment) => label(e.hyperparameters[name]);
  };
  const swept = hyperparameterNames(experiments).map(
    (name): Column<Experiment> => ({
      id: name,
      title: <Dotted name={name} />,
      label: name,
      width: widthOf(name, experiments.slice(0, 200).map(textOf(name))),
      numeric: experiments.some((e) => typeof e.hyperparameters[name] === "number"),
      cell: alignedCell(experiments, name, textOf(name)),
    }),
  );
  const epochDigits = String(Math.max(0, ...experiments.map(epochOf))).length;
  const scores = run.scores.flatMap((name): Column<Experiment>[] => [
    {
      id: name,
      title: name,
      label: `${name}, latest`,
      width: Math.max(88, Math.min(MOST, name.length * 7.4 + 30)),
      numeric: true,
      cell: (e) => <Score value={e.last[name]} align />,
    },
    {
      id: `best ${name}`,
      title: (
        <>
          <small>best</small> {name}
        </>
      ),
      label: `${name}, best (${scoreMode(run, name)})`,
      width: Math.max(136, Math.min(MOST, name.length * 7.4 + 62)),
      numeric: true,
      cell: (e) => {
        const best = e.best[name]?.[scoreMode(run, name)];
        return (
          best && (
            <>
              <Score value={best[1]} align />{" "}
              <small class="at" style={{ width: `${epochDigits + 2}ch` }}>
                @ {best[0]}
              </small>
            </>
          )
        );
      },
    },
  ]);
  const ofMoments = formatTime(run.startedMs).length > 8 ? 178 : 90; // with a day, or a time of today
  const day = (ms: number | null) => new Date(ms ?? Date.now()).toDateString();
  const isOneDay = day(run.startedMs) === day(run.finishedMs); // which Start says already
  const more: Column<Experiment>[] = [
    { id: "fold", title: "Fold", label: "Fold", width: 60, numeric: true, cell: (e) => e.fold },
    { id: "round", title: "Round", label: "Round", width: 64, numeric: true, cell: (e) => e.round },
    { id: "refit", title: "Refit", label: "Refit", width: 60, cell: (e) => cellOf(e, "refit") },
    { id: "device", title: "Device", label: "Device", width: 90, cell: (e) => e.device },
    {
      id: "started",
      title: "Start",
      label: "Start",
      width: ofMoments,
      cell: (e) => formatTime(e.started),
    },
    {
      id: "finished",
      title: "Finish",
      label: "Finish",
      width: isOneDay ? 90 : ofMoments,
      cell: (e) =>
        e.finished && (
          <span title={e.seconds > 0 ? `trained for ${formatDuration(e.seconds * 1000)}` : ""}>
            {isOneDay ? formatMoment(e.finished).slice(-8) : formatTime(e.finished)}
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
  const [id, status, ...at] = fixed;
  // Where within an epoch each is says something as long as it moves, and how a model ended where one did otherwise.
  const says = (e: Experiment) => e.error || cellOf(e, "model_status");
  const ended = experiments.some(says) ? /batch|split/ : /batch|split|model/;
  const progress = run.status === "RUNNING" ? at : at.filter((column) => !ended.test(column.id));
  const answer = scores.filter((column) => column.id === `best ${main[0]}`);
  const others = scores.filter((column) => !answer.includes(column));
  const usual = [
    ...[id!, ...answer, status!, ...swept].map((column) => column.id),
    ...(experiments.some((e) => e.fold !== null) ? ["fold"] : []),
    ...new Set(main),
    ...progress.map((column) => column.id),
    ...(new Set(experiments.map((e) => e.device)).size > 1 ? ["device"] : []), // else the overview says it
    "started",
    "finished",
  ];
  return { columns: [id!, ...answer, status!, ...swept, ...others, ...at, ...more], usual };
}

/** What has not ended in a run that nobody writes any more does not run. */
export function shownStatus(run: Run, status: string): string {
  return run.status === "LOST" && /INIT|RUNNING/.test(status) ? "LOST" : status;
}
