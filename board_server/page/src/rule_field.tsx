/** A rule's text, whose wrong part is underlined where it stands. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { parseRule } from "./rule";

interface RuleFieldProps {
  value: string;
  /** What is in force where nothing is written. */
  usual: string;
  known: (name: string) => string | null;
  onCommit: (text: string) => void;
}

export function RuleField({ value, usual, known, onCommit }: RuleFieldProps) {
  const [text, setText] = useState(value);
  const emptied = useRef(false); // by hand: it stays so, though the usual rule is in force
  useLayoutEffect(() => {
    if (!emptied.current || value !== usual) setText(value); // before the next key, which must not be lost
  }, [value]);
  const parsed = parseRule(text, known);
  const wrong = !parsed.ok && text.trim() !== "";
  const [at, length] = wrong ? [parsed.at ?? 0, parsed.length ?? 1] : [text.length, 0];
  const inForce = !parseRule(value).ok
    ? " — nothing is chosen."
    : text === value
      ? ""
      : ` — until it can be read, “${value}” stays in force.`;
  return (
    <div class="rule">
      <label for="rule">Rule</label>
      <div class="stack">
        <div class="behind" aria-hidden="true">
          {text.slice(0, at)}
          {wrong && <mark>{text.slice(at, at + length) || " "}</mark>}
          {text.slice(at + length)}
        </div>
        <textarea
          id="rule"
          rows={2}
          spellcheck={false}
          value={text}
          placeholder={usual}
          data-shortcut="/"
          aria-invalid={wrong}
          aria-describedby="rule-says"
          onInput={(event) => {
            const next = event.currentTarget.value;
            setText(next);
            emptied.current = !next.trim();
            if (!next.trim() || parseRule(next, known).ok) onCommit(next.trim() ? next : usual);
          }}
        />
      </div>
      <p id="rule-says" role="status" class={wrong ? "error" : "none"}>
        {wrong
          ? parsed.error + inForce
          : !text.trim() && usual
            ? `Nothing is written, so the usual rule is in force: ${usual}`
            : "top 5 by <score> max|min at best|last mean over <name> where <name> < 0.01 and status = DONE per <name>"}
      </p>
    </div>
  );
}
