/** Which score experiments are judged by, and which way is better. */

import { setView } from "./app";
import { Select } from "./controls";
import { orderScores } from "./score_order";

interface ScoreChoiceOf {
  label: string;
  scores: readonly string[];
  by: string;
  mode: "max" | "min";
}

export function ScoreChoice({ label, scores, by, mode }: ScoreChoiceOf) {
  return (
    <>
      <Select
        label={label}
        value={by}
        options={orderScores(scores, by).map((name) => [name, name])}
        onChange={(next) => setView({ by: next, mode: "" })}
      />
      <Select
        label="Better is"
        value={mode}
        options={[
          ["max", "greater"],
          ["min", "less"],
        ]}
        onChange={(next) => setView({ mode: next })}
      />
    </>
  );
}
