/** What one does with runs that are ticked, the note of one, and what came of it. */

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { session } from "./app";
import { SignIn } from "./pages/settings";
import { change, mayWrite, ofEach, saidOf, signedTags, told, undo, wantsToWrite } from "./run_changes";
import type { RunRow } from "./wire";

const MAX_NOTE_BYTES = 1 << 16;

/** The run whose note is open. */
export const noteOf = signal<RunRow | null>(null);

/** A dialog that opens when it is made; `onClose` takes it away. */
function Dialog({
  label,
  onClose,
  children,
}: {
  label: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    box.current?.showModal();
  }, []);
  return (
    <dialog class="help" ref={box} aria-label={label} onClose={onClose}>
      {children}
    </dialog>
  );
}

/** What a run's note says, whole, and its text to be changed. */
export function NoteDialog() {
  const run = noteOf.value;
  return run && <Note key={run.grid_search_id} run={run} />;
}

function Note({ run }: { run: RunRow }) {
  const [before, setBefore] = useState<string | null>(null);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const [isSaving, setSaving] = useState(false);
  const id = run.grid_search_id;
  useEffect(() => {
    saidOf(id).then(
      ({ note }) => {
        setBefore(note);
        setText(note);
      },
      (error: Error) => setProblem(error.message),
    );
  }, []);
  const size = new TextEncoder().encode(text).length;
  const tooLong = size > MAX_NOTE_BYTES;
  const readOnly = session.value?.write === false;
  const save = async () => {
    if (before === null || tooLong || isSaving) return;
    if (text === before) {
      noteOf.value = null;
      return;
    }
    if (!mayWrite()) return;
    setSaving(true);
    try {
      const now = await saidOf(id);
      if (now.note !== before) {
        setBefore(now.note);
        setProblem(
          now.note === text
            ? "Somebody wrote the same meanwhile."
            : `Somebody changed this note meanwhile; saving again replaces it. It says now: ${now.note.slice(0, 500)}`,
        );
        return;
      }
      const held = await change(
        new Map([[id, [{ event_type: "note_set", note: text }]]]),
        "note saved",
        new Map([[id, before]]),
      );
      if (held.length) noteOf.value = null;
      else setProblem(told.value?.problems.join("; ") ?? "");
    } catch (error) {
      setProblem((error as Error).message);
    } finally {
      setSaving(false);
    }
  };
  return (
    <Dialog
      label={`Note of ${run.name ?? id}`}
      onClose={() => {
        noteOf.value = null;
      }}
    >
      <form
        class="note"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <h2>Note of {run.name ?? id}</h2>
        <textarea
          aria-label="Note"
          rows={10}
          value={text}
          readOnly={readOnly || before === null}
          placeholder={before === null ? "Loading…" : "What one should know of this run"}
          aria-invalid={tooLong}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void save();
          }}
        />
        {tooLong && (
          <p class="error" role="status">
            {size.toLocaleString("en")} bytes; {MAX_NOTE_BYTES.toLocaleString("en")} are the most
          </p>
        )}
        {problem && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
        {readOnly && <p class="none">This browser may only read here.</p>}
        <div class="bartop">
          {!readOnly && (
            <button type="submit" class="primary" disabled={before === null || tooLong || isSaving}>
              Save
            </button>
          )}
          <button
            type="button"
            onClick={() => {
              noteOf.value = null;
            }}
          >
            {readOnly ? "Close" : "Cancel"}
          </button>
          {!readOnly && <small>Ctrl+Enter saves</small>}
        </div>
      </form>
    </Dialog>
  );
}

/** What the ticked runs can be asked for. */
export function RunTools({
  runs,
  onClear,
  compareAddress,
}: {
  runs: readonly RunRow[];
  onClear: () => void;
  compareAddress: string;
}) {
  const [tags, setTags] = useState("");
  const archived = runs.every((run) => run.archived);
  const deleted = runs.every((run) => run.deleted);
  const number = runs.length;
  return (
    <form
      class="bartop controls"
      aria-label="What to do with the chosen runs"
      onSubmit={async (event) => {
        event.preventDefault();
        const held = await change(
          ofEach(runs, (run) => signedTags(tags, run.tags)),
          `tagged ${tags.trim()}`,
        );
        if (held.length) setTags("");
      }}
    >
      <strong>{number.toLocaleString("en")} chosen</strong>
      {number > 1 ? (
        <a class="button primary" href={compareAddress}>
          Compare
        </a>
      ) : (
        <span class="none">tick another one to compare</span>
      )}
      <div class="field">
        <input
          type="text"
          aria-label="Tags of the chosen runs"
          value={tags}
          placeholder="+paper -draft"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => setTags(event.currentTarget.value)}
        />
      </div>
      <button type="submit" disabled={!tags.trim()}>
        Tag
      </button>
      <button
        type="button"
        onClick={() =>
          change(
            ofEach(runs, (run) =>
              run.archived === archived ? [{ event_type: archived ? "unarchived" : "archived" }] : [],
            ),
            archived ? "out of the archive" : "archived",
          )
        }
      >
        {archived ? "Unarchive" : "Archive"}
      </button>
      <button
        type="button"
        title={deleted ? "" : "They are hidden, and found by is:deleted; nothing is removed"}
        onClick={() => {
          const done = deleted ? "restored" : "deleted";
          void change(
            ofEach(runs, () => [{ event_type: done }]),
            done,
          );
        }}
      >
        {deleted ? "Restore" : "Delete"}
      </button>
      <span class="space" />
      <button type="button" onClick={onClear}>
        None
      </button>
    </form>
  );
}

/** What was done last, with what takes it back. */
export function Told() {
  const said = told.value;
  useEffect(
    () => () => {
      told.value = null; // it stays on its page
    },
    [],
  );
  return (
    <>
      <div role="status" class="told">
        {said && (
          <p class={`notice ${said.problems.length ? "bad" : ""}`}>
            <span>
              {said.text}
              {said.problems.map((text) => (
                <span key={text} class="line">
                  {text}
                </span>
              ))}
            </span>
            <span>
              {said.undo && (
                <button type="button" onClick={() => void undo()}>
                  Undo
                </button>
              )}
              <button
                type="button"
                class="icon"
                aria-label="Close this message"
                onClick={() => {
                  told.value = null;
                }}
              >
                ×
              </button>
            </span>
          </p>
        )}
      </div>
      {wantsToWrite.value && (
        <Dialog
          label="Writing needs a token"
          onClose={() => {
            wantsToWrite.value = false;
          }}
        >
          <p class="line">This browser may only read here. A token that may write is needed.</p>
          <SignIn />
          <button
            type="button"
            onClick={() => {
              wantsToWrite.value = false;
            }}
          >
            Cancel
          </button>
        </Dialog>
      )}
    </>
  );
}
