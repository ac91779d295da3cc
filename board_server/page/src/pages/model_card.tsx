/** An experiment's model card, made to be printed. */

import { useEffect, useState } from "preact/hooks";
import { printing, runAddress } from "../app";
import { CardFront } from "../card_front";
import { Empty } from "../controls";
import { isObject, type JsonObject } from "../json";
import type { RunStore } from "../run_store";
import { isSaved } from "../saved";
import { Tree } from "../tree";
import { encode, getJson } from "../wire";

const TITLES: Record<string, string> = {
  hyperparameters: "Hyperparameters",
  model: "Model",
  data: "Training and evaluation data",
  training: "Training",
  evaluation: "Evaluation",
  environment: "Environment",
  git: "Source",
  energy: "Energy",
  pipeline: "Pipeline",
};

/** Print it as it stands there: the page, with all that was recorded behind it if that is open. */
function printCard(): void {
  printing.value = true;
  setTimeout(() => {
    print();
    printing.value = false;
  }, 100); // when the chart is drawn for paper
}

export function ModelCard({ store, id }: { store: RunStore; id: number }) {
  void store.version.value;
  const { run } = store;
  const e = run.experiments.get(id);
  const [card, setCard] = useState<JsonObject | null>(null);
  const [problem, setProblem] = useState("");
  const [tries, setTries] = useState(0);
  useEffect(() => {
    let stale = false;
    let timer = 0;
    getJson<JsonObject>(`model-card/${encode(run.id)}/${id}`).then(
      (found) => {
        if (stale) return;
        setCard(found);
        setProblem("");
      },
      (error) => {
        if (stale) return;
        setProblem((error as Error).message);
        timer = window.setTimeout(() => setTries(tries + 1), 5000 * 2 ** tries);
      },
    );
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [id, run.status, e?.status, tries]); // it is written a moment after the run has ended
  if (problem && !card)
    return (
      <Empty title="This experiment has no model card yet">
        <p>The training writes it when an experiment has ended. {problem}</p>
        <a href={runAddress(run.id, "experiments", String(id))}>Back to the experiment</a>
      </Empty>
    );
  if (!card) return <Empty title="Loading…" />;
  const facts = Object.entries(card).filter(([name, value]) => !isObject(value) && name !== "headline");
  return (
    <article class="page sheet paper">
      <div class="bartop noprint">
        <a href={runAddress(run.id, "experiments", String(id))}>← Experiment {id}</a>
        <span class="space" />
        {!isSaved &&
          ["model_card.json", "model_card.md"].map((file) => (
            <a key={file} class="file" download href={`grid_searches/${encode(run.id)}/${id}/${file}`}>
              {file}
            </a>
          ))}
        <button type="button" class="primary" onClick={printCard}>
          Print
        </button>
      </div>
      <h1>
        Model card: {String(card.name ?? run.id)}, experiment {id}
      </h1>
      <CardFront store={store} id={id} card={card} />
      <details class="everything">
        <summary>Everything that was recorded</summary>
        <Tree value={{ run: run.id, ...Object.fromEntries(facts) }} />
        {Object.entries(card).map(
          ([name, value]) =>
            isObject(value) &&
            name !== "standing" && (
              <section key={name}>
                <h2>{TITLES[name] ?? name}</h2>
                <Tree value={value} />
              </section>
            ),
        )}
      </details>
    </article>
  );
}
