/** Values of JSON as they are found in logs: each field may be of any type; NaN, infinities, integers past 2^53 are words. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

const LONG = /([[,:\s]|^)(-?\d{16,})(?=[\]},\s]|$)/g;

/** Read a text of which `JSON.parse` alone would lose digits: integers beyond 2^53 become words, as NaN is one. */
export function parseJson(text: string) {
  if (text.search(LONG) < 0) return JSON.parse(text);
  let isString = false;
  const parts = text.split('"').map((part) => {
    const wasString = isString;
    isString = !wasString || /\\*$/.exec(part)![0].length % 2 > 0;
    return wasString
      ? part
      : part.replace(LONG, (all, before, digits) =>
          Number.isSafeInteger(+digits) ? all : `${before}"${digits}"`,
        );
  });
  return JSON.parse(parts.join('"'));
}

export const isLong = (value: unknown): boolean => typeof value === "string" && /^-?\d{16,}$/.test(value);

/** JSON for people, in which such words are numbers again. */
export const writeJson = (value: unknown) => JSON.stringify(value, null, 2).replace(/"(-?\d{16,})"/g, "$1");

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function member(value: Json | undefined, key: string): Json | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** A field that must be there. */
export function required(payload: JsonObject, key: string): Json {
  const value = member(payload, key);
  if (value === undefined) throw new TypeError(`${key} is missing`);
  return value;
}

/** A field that must be a list. */
export function listOf(value: Json | undefined): Json[] {
  if (!Array.isArray(value)) throw new TypeError(`no list: ${JSON.stringify(value)}`);
  return value;
}

/** What is written where a text is expected: something else is shown as its JSON. */
export const text = (value: Json) => (typeof value === "string" ? value : JSON.stringify(value));
export const textOrNull = (value: Json | undefined) =>
  value === undefined || value === null ? null : text(value);
export const numberOrNull = (value: Json | undefined) => (typeof value === "number" ? value : null);
export const objectOrNull = (value: Json | undefined) => (isObject(value) ? value : null);

export const isInteger = (value: Json | undefined): value is number =>
  Number.isInteger(value) && Math.abs(value as number) <= 2 ** 53;

/** A number that may be written as a word. */
export function toFloat(value: Json | undefined): number {
  if (typeof value === "number") return value;
  const found = typeof value === "string" && value.trim() ? Number(value) : NaN;
  if (Number.isNaN(found) && value !== "NaN") throw new TypeError(`no number: ${JSON.stringify(value)}`);
  return found;
}

/** The same of what the server has read already: NaN for what is no number. */
export function toNumber(score: Json | undefined): number {
  return typeof score === "number" || isLong(score)
    ? Number(score)
    : score === "Infinity"
      ? Infinity
      : score === "-Infinity"
        ? -Infinity
        : NaN;
}
