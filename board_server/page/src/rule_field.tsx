/** A rule's text, whose wrong part is underlined where it stands. */

import { useLayoutEffect, useState } from "preact/hooks";
import { parseRule } from "./rule";

interface RuleFieldProps {
  value: string;
  known: (name: string) => string | null;
  onCommit: (text: string) => void;
}

export function RuleField({ value, known, onCommit }: RuleFieldProps) {
  const [text, setText] = useState(value);
  useLayoutEffect(() => setText(value), [value]); // before the next key, which must not be lost
  const parsed = parseRule(text, known);
  const wrong = !parsed.ok && text + value !== ""; // before the first result there is no rule to be wrong
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
          data-shortcut="/"
          aria-invalid={wrong}
          aria-describedby="rule-says"
          onInput={(event) => {
            const next = event.currentTarget.value;
            setText(next);
            if (parseRule(next, known).ok) onCommit(next);
          }}
        />
      </div>
      <p id="rule-says" role="status" class={wrong ? "error" : "none"}>
        {wrong
          ? parsed.error + inForce
          : "top 5 by <score> max|min at best|last mean over <name> where <name> < 0.01 and status = DONE per <name>"}
      </p>
    </div>
  );
}
