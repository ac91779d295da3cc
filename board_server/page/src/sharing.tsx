/** An analysis as a file: the whole state of a run's views, versioned, to be opened again anywhere. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { address, download, navigate, store, view } from "./app";
import { Pool } from "./pool";
import { ANALYSIS_FORMAT, type Analysis, readAnalysis, readView, writeView } from "./view_state";

/** Said once after an import, or when it failed, where it happened: below this path. */
export const notice = signal<{ text: string; bad: boolean; at: string } | null>(null);

const here = () => `/${address.value.path.join("/")}/`;

const expected = signal<{ run: string; hash: string } | null>(null);

export function exportAnalysis(): void {
  const open = store.value;
  if (!open?.loaded.value || open instanceof Pool) return; // it is said of one run
  const analysis: Analysis = {
    format: ANALYSIS_FORMAT,
    version: 1,
    grid_search_id: open.id,
    config_hash: open.run.configHash,
    view: address.value.path.slice(2).join("/"),
    params: writeView(view.value),
    exported_ms: Date.now(),
  };
  download(`${open.id}-analysis.json`, `${JSON.stringify(analysis, null, 2)}\n`, "application/json");
}

export function openAnalysis(text: string): void {
  try {
    const analysis = readAnalysis(text);
    const { foreign } = readView(analysis.params);
    expected.value = analysis.config_hash
      ? { run: analysis.grid_search_id, hash: analysis.config_hash }
      : null;
    const left = foreign.length ? ` Not known here and left out: ${foreign.join(", ")}.` : "";
    notice.value = {
      text: `Analysis of ${analysis.grid_search_id} opened.${left}`,
      bad: foreign.length > 0,
      at: `/runs/${analysis.grid_search_id}/`,
    };
    const shown = (analysis.view || "flow").split("/").filter(Boolean); // which had no name of its own once
    navigate(["runs", analysis.grid_search_id, ...shown], analysis.params);
  } catch (error) {
    notice.value = { text: (error as Error).message, bad: true, at: here() };
  }
}

export function ImportButton() {
  return (
    <label class="button" title="Show the view that “Export analysis” saved as a file, here or elsewhere">
      Open analysis
      <input
        type="file"
        class="hidden"
        accept="application/json,.json"
        onChange={async (event) => {
          const input = event.currentTarget;
          const file = input.files?.[0];
          if (file) openAnalysis(await file.text());
          input.value = "";
        }}
      />
    </label>
  );
}

export function Notice() {
  const open = store.value;
  const wanted = expected.value;
  const other = wanted && open?.id === wanted.run && open.loaded.value && open.run.configHash !== wanted.hash;
  const said = notice.value && here().startsWith(notice.value.at) ? notice.value : null;
  useEffect(() => {
    if (!said) notice.value = null; // it does not follow to other pages, nor come back
  }, [said]);
  if (!said && !other) return null;
  return (
    <p class={`notice ${said?.bad || other ? "bad" : ""}`} role="status">
      <span>
        {said?.text} {other && "This run has another config than the one that was analysed."}
      </span>
      <button
        type="button"
        class="icon"
        aria-label="Close this message"
        onClick={() => {
          notice.value = null;
          expected.value = null;
        }}
      >
        ×
      </button>
    </p>
  );
}
