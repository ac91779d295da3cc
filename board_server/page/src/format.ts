/** Numbers, times and sizes as text. */

import type { Json } from "./json";

export function formatNumber(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
  if (size !== 0 && (size < 1e-3 || size >= 1e6))
    return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  return size >= 1
    ? value.toPrecision(Math.max(digits, Math.floor(Math.log10(size)) + 1))
    : value.toFixed(digits);
}

export function ordinal(n: number): string {
  return n + (/1\d$/.test(`${n}`) ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th"));
}

/** A number beside an axis, as short as it can be. */
export function formatTick(value: number, digits = 4): string {
  const size = Math.abs(value);
  if (size >= 1e5 && size < 1e12)
    return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: digits });
  return Number.isInteger(value) && size < 1e5
    ? value.toLocaleString("en")
    : formatValue(Number(value.toPrecision(digits)));
}

/** A hyperparameter's value as it would be written in a config. */
export function formatValue(value: Json | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") {
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6)
      ? value.toExponential().replace("e+", "e")
      : String(Number(value.toPrecision(6)));
  }
  return typeof value === "string" ? value : JSON.stringify(value);
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

export function csv(rows: readonly (readonly (string | number | null)[])[]): string {
  const cell = (value: string | number | null) => {
    const text = value === null ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}
