/** The address after `#` as data: `#/runs/<run>/analysis?scores=loss` and back. Every view's state lives here. */

export type Params = Readonly<Record<string, string>>;

export interface Address {
  readonly path: readonly string[];
  readonly params: Params;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replace(/\+/g, " "));
  } catch {
    return text; // a hand-typed % is kept as it is
  }
}

// Signs that are harmless after # stay readable.
function encodePart(text: string): string {
  return encodeURIComponent(text).replace(/%(2F|3A|2C|40|3D|7C|3C|3E|24)/g, (sign) =>
    sign === "%3C" || sign === "%3E" ? sign : decodeURIComponent(sign),
  );
}

export function parseAddress(hash: string): Address {
  const text = hash.replace(/^#?\/?/, "");
  const mark = text.indexOf("?");
  const path = (mark < 0 ? text : text.slice(0, mark)).split("/").filter(Boolean).map(decode);
  const params: Record<string, string> = Object.create(null);
  if (mark >= 0)
    for (const pair of text.slice(mark + 1).split("&")) {
      if (!pair) continue;
      const equals = pair.indexOf("=");
      params[decode(equals < 0 ? pair : pair.slice(0, equals))] =
        equals < 0 ? "" : decode(pair.slice(equals + 1));
    }
  return { path, params };
}

export function formatAddress(path: readonly string[], params: Params = {}): string {
  const pairs = Object.keys(params)
    .filter((key) => params[key] !== "")
    .sort()
    .map((key) => `${encodePart(key).replace(/=/g, "%3D")}=${encodePart(params[key]!)}`);
  return `#/${path.map(encodeURIComponent).join("/")}${pairs.length ? `?${pairs.join("&")}` : ""}`;
}

/** `0,3,5-9` as numbers; what is no number is passed over. At most `limit`, so that an address cannot ask for all memory. */
export function parseIds(text: string, limit = 100_000): number[] {
  const ids = new Set<number>();
  for (const part of text.split(",")) {
    const range = /^\s*(\d{1,9})(?:-(\d{1,9}))?\s*$/.exec(part);
    if (!range) continue;
    for (let id = Number(range[1]); id <= Number(range[2] ?? range[1]) && ids.size < limit; id++) ids.add(id);
  }
  return [...ids].sort((a, b) => a - b);
}

export function formatIds(ids: Iterable<number>): string {
  const sorted = [...new Set(ids)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === sorted[end]! + 1) end++;
    parts.push(end - i > 1 ? `${sorted[i]}-${sorted[end]}` : sorted.slice(i, end + 1).join(","));
    i = end + 1;
  }
  return parts.join(",");
}
