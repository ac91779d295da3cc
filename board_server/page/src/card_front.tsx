/** The first page of a model card: what the model scores, how sure that is, how it was made, and its curve. */

import { useMemo } from "preact/hooks";
import { Short } from "./controls";
import { exactValue, formatNumber, formatValue } from "./format";
import { isObject, type Json, type JsonObject, numberOrNull } from "./json";
import type { RunStore } from "./run_store";
import { ScoreChart } from "./score_chart";

const LONGEST = 220; // signs of a fact: a card has one page
const MOST_SCORES = 12;

const part = (value: Json | undefined): JsonObject => (isObject(value) ? value : {});
const brief = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
const counted = (value: Json | undefined) => (typeof value === "number" ? value.toLocaleString("en") : "?");

/** `mlp (features 128 × 128)` */
function component(value: Json | undefined): string {
  const { component: name, ...rest } = part(value);
  if (name === undefined) return "";
  const said = Object.entries(rest).map(([key, one]) => `${key} ${exactValue(one)}`);
  return `${exactValue(name)}${said.length ? ` (${said.join(", ")})` : ""}`;
}

function factsOf(card: JsonObject): [string, string][] {
  const [model, data, training] = [part(card.model), part(card.data), part(card.training)];
  const [environment, git] = [part(card.environment), part(card.git)];
  const versions = part(environment.versions);
  const hyper = Object.entries(part(card.hyperparameters)).map(([key, one]) => `${key} = ${exactValue(one)}`);
  const splits = Object.entries(part(data.splits)).map(
    ([key, one]) => `${key} ${counted(part(one).num_examples)}`,
  );
  const stopped = training.stop_reason ? `, ended by ${exactValue(training.stop_reason)}` : "";
  const known = ["python", "jax", "flax", "optax", "mlgym-jax"].filter((key) => key in versions);
  const facts: [string, string][] = [
    ["Hyperparameters", hyper.join(", ")],
    ["Model", `${component(model.component)}, ${counted(model.num_parameters)} parameters`],
    ["Data", [component(data.dataset), component(data.validation)].filter(Boolean).join(", split by ")],
    ["Examples", splits.join(", ")],
    ["Trained", `${counted(training.num_epochs)} epochs, ${counted(training.num_steps)} steps${stopped}`],
    ["Optimizer", component(training.optimizer)],
    ["Loss", component(training.loss)],
    ["Environment", known.map((key) => `${key} ${exactValue(versions[key])}`).join(", ")],
    ["Source", git.commit ? `${exactValue(git.commit)}${git.dirty ? ", with changes" : ""}` : ""],
  ];
  return facts.filter(([, text]) => text);
}

export function CardFront({ store, id, card }: { store: RunStore; id: number; card: JsonObject }) {
  const e = store.run.experiments.get(id);
  const only = useMemo(() => (e ? [e] : []), [e]);
  const standing = part(card.standing);
  const [score, monitor] = [numberOrNull(standing.score), standing.monitor];
  const ends = Array.isArray(standing.interval) ? standing.interval : null;
  const best = part(part(card.evaluation).best_epoch);
  const scores = Object.entries(part(best.scores)).slice(0, MOST_SCORES);
  const name = typeof monitor === "string" ? monitor : store.run.monitor;
  return (
    <section class="front" aria-label="Summary">
      {score !== null && (
        <p class="score">
          <strong>
            <Short text={formatNumber(score)} exact={exactValue(standing.score)} />
          </strong>
          <span>
            {exactValue(monitor)}, epoch {exactValue(standing.epoch)}
            {ends && (
              <>
                <br />
                <small>
                  95 % interval of the mean of {exactValue(standing.n)}: {formatNumber(Number(ends[0]))} to{" "}
                  {formatNumber(Number(ends[1]))}
                </small>
              </>
            )}
          </span>
        </p>
      )}
      {typeof card.headline === "string" && <p class="lead">{card.headline}</p>}
      <table class="plain">
        <tbody>
          {factsOf(card).map(([title, text]) => (
            <tr key={title}>
              <th scope="row">{title}</th>
              <td>{brief(text)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {scores.length > 0 && (
        <p>
          Scores at epoch {exactValue(best.epoch)}:{" "}
          {scores.map(([key, one]) => `${key} ${formatValue(one)}`).join(", ")}
        </p>
      )}
      {e && name && <ScoreChart store={store} name={name} experiments={only} height={230} ungrouped />}
    </section>
  );
}
