/** Numbers, times and sizes as text. */

import { isLong, type Json } from "./json";

export function formatNumber(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
  if (size < 1e-3 || size >= 1e6) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  const before = Math.max(0, Math.floor(Math.log10(size) + 1)); // digits before the point
  return value.toFixed(Math.max(0, digits - before));
}

export function ordinal(n: number): string {
  return n + (/1\d$/.test(`${n}`) ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th"));
}

/** A number beside an axis, as short as it can be. */
export function formatTick(value: number, wanted = 4): string {
  const size = Math.abs(value);
  const digits = Math.min(17, wanted); // all that a number has
  if (size >= 1e5 && size < 1e12)
    return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: digits });
  return Number.isInteger(value) && size < 1e5
    ? value.toLocaleString("en")
    : formatValue(Number(value.toPrecision(digits)));
}

/** A hyperparameter's value as it would be written in a config, numbers with six significant digits. */
export function formatValue(value: Json | undefined): string {
  return value === undefined ? "" : written(value, shortNumber);
}

/** The same with all digits. */
export function exactValue(value: Json | undefined): string {
  return value === undefined ? "" : written(value, longNumber);
}

function written(value: Json, number: (value: number) => string, inside = false): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return inside && !isLong(value) ? JSON.stringify(value) : value;
  const inner = (one: Json) => written(one, number, true);
  if (Array.isArray(value)) return `[${value.map(inner).join(",")}]`;
  const { component, ...rest } = value;
  const isComponent = typeof component === "string";
  const pairs = Object.entries(isComponent ? rest : value).map(([name, one]) => `${name}=${inner(one)}`);
  const name = isComponent ? component : "dict";
  return isComponent && !pairs.length ? name : `${name}(${pairs.join(", ")})`;
}

const inDigits = (value: number) =>
  !value || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6)
    ? String(value)
    : value.toExponential().replace("e+", "e");

const longNumber = (value: number) => (Number.isSafeInteger(value) ? String(value) : inDigits(value));

const shortNumber = (value: number) =>
  Number.isSafeInteger(value) ? String(value) : inDigits(Number(value.toPrecision(6)));

/** Numbers in so many digits, or in more if two that differ would be written alike; integers with all of theirs. */
export function apart(values: readonly number[], digits: number): string[] {
  const texts = values.map((value) =>
    longNumber(Number.isSafeInteger(value) ? value : Number(value.toPrecision(digits))),
  );
  return digits > 16 || new Set(texts).size === new Set(values).size ? texts : apart(values, digits + 1);
}

const two = (n: number) => String(n).padStart(2, "0");

/** Day and time, local: `2026-01-31 14:05:00`. */
export function formatMoment(ms: number): string {
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Of today the time, else the day, too. */
export function formatTime(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "";
  const moment = formatMoment(ms);
  return new Date().toDateString() === new Date(ms).toDateString() ? moment.slice(-8) : moment;
}

export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds < 1 ? Number(seconds.toPrecision(2)) : seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds); // 179.6 s are 3 minutes, not 2
  if (whole < 7200) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

export function formatAgo(ms: number | null, now = Date.now()): string {
  if (ms === null) return "";
  const seconds = Math.max(0, (now - ms) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86_400);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

export function formatBytes(bytes: number): string {
  let size = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (size < 1000 || unit === "GB") return `${unit === "B" ? size : size.toPrecision(3)} ${unit}`;
    size /= 1000;
  }
  return "";
}

const exactCell = (value: Json | undefined): string => {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};

/** No text is one that a spreadsheet takes for a formula: as in the server's CSV, an apostrophe stands before such. */
export function csv(rows: readonly (readonly (Json | undefined)[])[]): string {
  const cell = (value: Json | undefined) => {
    let text = exactCell(value);
    if (typeof value !== "number" && !isLong(value) && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}
