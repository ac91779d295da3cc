/** Small controls that all pages use. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Checked } from "./filter";
import { formatNumber } from "./format";

interface FieldProps {
  label: string;
  value: string;
  placeholder?: string;
  /** What is wrong with a text, if anything; such a text is marked, and the last good one stays in force. */
  check?: (text: string) => Checked<unknown>;
  onCommit: (text: string) => void;
  hidden?: boolean;
  wide?: boolean;
  list?: readonly string[];
  shortcut?: string;
}

const NO_CHECK = (): Checked<unknown> => ({ ok: true, value: null });

/** A text input that commits while one types, but only what can be read. */
export function Field({
  label,
  value,
  placeholder,
  check = NO_CHECK,
  onCommit,
  hidden,
  wide,
  list,
  shortcut,
}: FieldProps) {
  const [text, setText] = useState(value);
  const committed = useRef(value);
  const timer = useRef(0);
  const id = useId();
  useEffect(() => {
    if (value === committed.current) return;
    committed.current = value;
    setText(value); // changed from elsewhere: the address, another control
  }, [value]);
  const checked = check(text);
  const flush = () => {
    clearTimeout(timer.current);
    if (!checked.ok || text === committed.current) return;
    committed.current = text;
    onCommit(text);
  };
  useEffect(() => {
    timer.current = window.setTimeout(flush);
    return () => clearTimeout(timer.current);
  }, [text]);
  return (
    <div class={`field ${wide ? "wide" : ""}`}>
      <label for={id} class={hidden ? "hidden" : ""}>
        {label}
      </label>
      <input
        id={id}
        type="text"
        value={text}
        placeholder={placeholder}
        spellcheck={false}
        autocomplete="off"
        list={list ? `${id}-list` : undefined}
        data-shortcut={shortcut}
        aria-invalid={!checked.ok}
        aria-describedby={checked.ok ? undefined : `${id}-error`}
        onInput={(event) => setText(event.currentTarget.value)}
        onBlur={flush}
        onKeyDown={(event) => event.key === "Enter" && flush()}
      />
      {list && (
        <datalist id={`${id}-list`}>
          {list.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
      {!checked.ok && (
        <p class="error" id={`${id}-error`} role="status">
          {checked.error}
        </p>
      )}
    </div>
  );
}

interface SelectProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}

export function Select<T extends string>({ label, value, options, onChange }: SelectProps<T>) {
  const id = useId();
  const known = options.some(([option]) => option === value);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {!known && <option value={value}>{value}</option>}
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

export function Toggle({
  label,
  value,
  onChange,
}: {
  label: string;
  value: boolean;
  onChange: (value: boolean) => void;
}) {
  return (
    <button type="button" class="toggle" aria-pressed={value} onClick={() => onChange(!value)}>
      {label}
    </button>
  );
}

export function Slider({
  label,
  value,
  max,
  step,
  onChange,
}: {
  label: string;
  value: number;
  max: number;
  step: number;
  onChange: (value: number) => void;
}) {
  const id = useId();
  return (
    <div class="field slider">
      <label for={id}>
        {label} <output>{value.toFixed(2)}</output>
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={max}
        step={step}
        value={value}
        onInput={(event) => onChange(Number(event.currentTarget.value))}
      />
    </div>
  );
}

/** A text that is short, with the whole of it in the tip. */
export function Short({ text, exact }: { text: string; exact: string }) {
  return text === exact ? text : <span title={exact}>{text}</span>;
}

interface ScoreProps {
  value: number | null | undefined;
  digits?: number;
  /** In a column: its decimal point stands below those of the others. */
  align?: boolean;
}

/** A score, with all its digits in the tip. */
export function Score({ value, digits, align }: ScoreProps) {
  if (value === undefined || value === null) return null;
  const text = formatNumber(value, digits);
  const shown = (
    <span class={Number.isFinite(value) ? "" : "bad"} title={String(value)}>
      {text}
    </span>
  );
  return align ? (
    <Aligned text={text} places={4}>
      {shown}
    </Aligned>
  ) : (
    shown
  );
}

/** How many characters stand behind the decimal point. */
export const decimals = (text: string) => (text.includes(".") ? text.length - text.indexOf(".") - 1 : 0);

/** A number in a column that is aligned to the right: room for the decimals that it has not. */
export function Aligned({
  text,
  places,
  children,
}: {
  text: string;
  places: number;
  children: ComponentChildren;
}) {
  const missing = /\d/.test(text) ? Math.max(0, places - decimals(text)) : 0; // NaN has no decimal point to align
  const point = text.includes(".") ? "" : " + 0.3em"; // its own is missing, too
  return missing ? <span style={{ paddingRight: `calc(${missing}ch${point})` }}>{children}</span> : children;
}

export function Status({ status, note }: { status: string; note?: string | null }) {
  return (
    <span class={`status s-${status.toLowerCase()}`}>
      {status.toLowerCase()}
      {note && <small> {note}</small>}
    </span>
  );
}

/** Says one thing that is in force; a click ends it. */
export function Chip({
  title,
  onRemove,
  children,
}: {
  title?: string;
  onRemove: () => void;
  children: ComponentChildren;
}) {
  return (
    <button type="button" class="chip" title={title} onClick={onRemove}>
      {children} <span aria-hidden="true">×</span>
    </button>
  );
}

export function Bar({ value, of, label }: { value: number; of: number; label: string }) {
  const share = of > 0 ? Math.min(1, value / of) : 0;
  return (
    <span class="bar" role="img" aria-label={`${label} ${value} of ${of}`}>
      <span class="track">
        <span style={{ width: `${(share * 100).toFixed(1)}%` }} />
      </span>
      <small>
        {value}/{of}
      </small>
    </span>
  );
}

/** A button that opens a box of further controls; Escape and a click elsewhere close it. */
export function Menu({
  label,
  name,
  children,
}: {
  label: ComponentChildren;
  name?: string;
  children: ComponentChildren;
}) {
  const box = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      const details = box.current;
      if (!details?.open) return;
      const escaped = event instanceof KeyboardEvent && event.key === "Escape";
      if (escaped || (event.type === "pointerdown" && !details.contains(event.target as Node))) {
        details.open = false;
        if (escaped) details.querySelector("summary")?.focus();
      }
    };
    addEventListener("pointerdown", close);
    addEventListener("keydown", close);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("keydown", close);
    };
  }, []);
  return (
    <details class="menu" ref={box}>
      <summary aria-label={name} title={name}>
        {label}
      </summary>
      <div class="box">{children}</div>
    </details>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}
