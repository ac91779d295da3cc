/** What of a run's curves is shown, and how. */

import { useState } from "preact/hooks";
import { setView, view } from "./app";
import { Field, Menu, Select, Slider, Toggle } from "./controls";
import { FilterField } from "./experiment_filters";
import { hyperparameterNames, parseRegex } from "./filter";
import { isBinned } from "./groups";
import type { Experiment, Run } from "./run_state";
import { orderScores } from "./score_order";
import type { X } from "./view_state";

interface AnalysisControlsProps {
  run: Run;
  experiments: readonly Experiment[];
  rankBy: string;
}

export function AnalysisControls({ run, experiments, rankBy }: AnalysisControlsProps) {
  const state = view.value;
  const [isOpen, setOpen] = useState(false); // on a phone, where they would fill the screen
  const swept = hyperparameterNames(run.experiments.values());
  const scores = orderScores(run.scores, rankBy);
  const folds: [string, string][] = experiments.some((e) => e.fold !== null)
    ? [["fold", "mean by fold"]]
    : [];
  return (
    <div class={`bartop controls folding ${isOpen ? "open" : ""}`}>
      <FilterField hidden={false} />
      <button type="button" class="narrow-only" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        {isOpen ? "Fewer controls" : "Controls"}
      </button>
      <Field
        label="Scores"
        value={state.scores}
        placeholder="regex: loss, ^val/"
        check={(text) => parseRegex(text)}
        onCommit={(scores) => setView({ scores })}
      />
      <Select
        label="Lines"
        value={state.group}
        options={[
          ["", "one line per experiment"],
          ["(all)", "mean of all"],
          ...swept.map((name): [string, string] => [name, `mean by ${name}`]),
          ...folds,
        ]}
        onChange={(group) => setView({ group, hideGroups: [] })}
      />
      {state.group && isBinned(experiments, state.group) && (
        <Select
          label="Its numbers"
          value={String(state.bins)}
          options={[
            ...[3, 4, 5, 6, 8, 10, 12].map((n): [string, string] => [String(n), `in ${n} bins`]),
            ["0", "each for itself"],
          ]}
          onChange={(bins) => setView({ bins: Number(bins), hideGroups: [] })}
        />
      )}
      {state.group ? (
        <Select
          label="Band"
          value={state.band}
          options={[
            ["std", "± one deviation"],
            ["quartiles", "middle half"],
            ["range", "least to greatest"],
            ["none", "none"],
          ]}
          onChange={(band) => setView({ band })}
        />
      ) : (
        <Select
          label="Colour"
          value={state.colour}
          options={[
            ["", "by experiment"],
            ["rank", "by rank"],
            ...swept.map((name): [string, string] => [name, `by ${name}`]),
          ]}
          onChange={(colour) => setView({ colour })}
        />
      )}
      <Select<X>
        label="x"
        value={state.x}
        options={[
          ["epoch", "epoch"],
          ["step", "step"],
          ["time", "time"],
          ...scores.map((name): [X, string] => [name as X, name]),
        ]}
        onChange={(x) => setView({ x, zoom: null })}
      />
      <Slider
        label="Smoothing"
        value={state.smooth}
        max={0.99}
        step={0.01}
        onChange={(smooth) => setView({ smooth })}
      />
      <Menu label="More">
        <Select
          label="Values"
          value={state.best}
          options={[
            ["", "as logged"],
            ["auto", "best so far"],
            ["max", "greatest so far"],
            ["min", "least so far"],
          ]}
          onChange={(best) => setView({ best })}
        />
        <Select
          label="Range of y"
          value={state.outliers}
          options={[
            ["", "without outliers that stretch it"],
            ["cut", "without any outliers"],
            ["all", "all values"],
          ]}
          onChange={(outliers) => setView({ outliers })}
        />
        <Select
          label="Rank experiments by"
          value={rankBy}
          options={scores.map((name) => [name, name])}
          onChange={(by) => setView({ by })}
        />
      </Menu>
      <div class="toggles">
        <Toggle label="log x" value={state.logx} onChange={(logx) => setView({ logx })} />
        <Toggle
          label="log y"
          value={state.logy && !state.symlog}
          onChange={(logy) => setView({ logy, symlog: false })}
        />
        <Toggle
          label="symlog y"
          value={state.symlog}
          onChange={(symlog) => setView({ symlog, logy: false })}
        />
        {state.zoom && (
          <button type="button" onClick={() => setView({ zoom: null }, false)}>
            All of x
          </button>
        )}
      </div>
    </div>
  );
}
