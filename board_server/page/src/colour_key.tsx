/** What the colours of lines stand for. */

import { useMemo } from "preact/hooks";
import { formatIds } from "./address";
import { dark, view } from "./app";
import { type Colouring, type ColourKey, colouringOf, keyTicks } from "./colouring";
import { css } from "./colours";
import { scoreMode } from "./lines";
import type { Pool } from "./pool";
import type { Experiment } from "./run_state";
import type { RunStore } from "./run_store";
import { rankingScore } from "./score_order";

/** The colours that the address asks for; `own`: each experiment has one of its own, whatever it asks for. */
export function useColouring(
  store: RunStore | Pool,
  experiments: readonly Experiment[],
  own = false,
): Colouring {
  const { run } = store;
  const { by, pick, colour: wanted } = view.value;
  const score = rankingScore(run, by);
  const colour = own ? "" : wanted;
  return useMemo(
    () =>
      colouringOf(run, experiments, { colour, pick, score, mode: scoreMode(run, score), dark: dark.value }),
    // Ranks and scores change with each event.
    [run, experiments, colour, formatIds(pick), score, dark.value, colour ? store.version.value : 0],
  );
}

const STOPS = [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1];
const WIDTH = 240;

export function ColourKeyView({ colourKey }: { colourKey: ColourKey }) {
  const { entries, ramp, title } = colourKey;
  return (
    <div class="active">
      <small>{title}</small>
      {ramp && (
        <span class="ramp" style={{ width: `${WIDTH}px` }}>
          <i style={{ background: `linear-gradient(90deg, ${STOPS.map((at) => css(ramp(at))).join()})` }} />
          {keyTicks(colourKey, WIDTH).map(([share, text]) => (
            <small key={text} style={{ left: `${share * 100}%`, transform: `translateX(-${share * 100}%)` }}>
              {text}
            </small>
          ))}
        </span>
      )}
      {entries.map(([text, rgb]) => (
        <span class="key" key={text}>
          <i style={{ background: css(rgb) }} />
          {text}
        </span>
      ))}
    </div>
  );
}
