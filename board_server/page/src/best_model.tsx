/** The best model of a run: to download, and the lines that load it. */

import { useEffect, useState } from "preact/hooks";
import { copyText, runAddress } from "./app";
import type { Run } from "./run_state";
import { type CheckpointRow, encode, getJson, type Verdict } from "./wire";

/** A line to be typed elsewhere, and a button that copies it. */
export function Command({ text, what }: { text: string; what: string }) {
  const [said, say] = useState("");
  return (
    <div class="command">
      <pre tabIndex={0}>{text}</pre>
      <button
        type="button"
        aria-label={`Copy ${what}`}
        onClick={async () => say((await copyText(text)) ? "copied" : "the browser refuses: select the text")}
        onBlur={() => say("")}
      >
        Copy
      </button>
      <small role="status">{said}</small>
    </div>
  );
}

export function Model({ run, verdict }: { run: Run; verdict: Verdict }) {
  const { best, load, sentences } = verdict;
  const [kept, setKept] = useState<CheckpointRow[]>([]);
  const checkpoint = best && run.experiments.get(best.experiment_id)?.checkpoint;
  useEffect(() => {
    let stale = false;
    if (best)
      getJson<CheckpointRow[]>(`checkpoint_list/${encode(run.id)}/${best.experiment_id}`).then(
        (rows) => stale || setKept(rows),
        () => stale || setKept([]),
      );
    return () => {
      stale = true;
    };
  }, [run.id, best?.experiment_id, load?.epoch, checkpoint, run.status]);
  if (!best) return null;
  const wanted = kept.filter(({ checkpoints }) => checkpoints.includes("model"));
  const row = wanted.find(({ epoch }) => epoch === best.epoch) ?? wanted.at(-1);
  return (
    <section class="card stretch">
      <h2>The best model</h2>
      <p class="active">
        {row && (
          <a
            class="button primary"
            download
            href={`checkpoints/${encode(run.id)}/${best.experiment_id}/${row.epoch}/model`}
          >
            Download the model
          </a>
        )}
        <a class="button" href={runAddress(run.id, "experiments", String(best.experiment_id), "model-card")}>
          Model card
        </a>
        {row && (
          <small>
            safetensors of epoch {row.epoch}
            {row.epoch !== best.epoch && `, as epoch ${best.epoch} was not kept`}
          </small>
        )}
      </p>
      {load ? (
        <Command
          text={`import mlgym_jax as mg\n\nbest = ${load.python.replace(/\.restore\(\)$/, "")}\nstate = best.restore()`}
          what="the Python that loads the model"
        />
      ) : (
        !row && <p class="none">{sentences.load}</p>
      )}
    </section>
  );
}
