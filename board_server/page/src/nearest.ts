/** The name that somebody meant. */

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let k = 1; k <= b.length; k++)
      next.push(Math.min(next[k - 1]! + 1, row[k]! + 1, row[k - 1]! + Number(a[i - 1] !== b[k - 1])));
    row = next;
  }
  return row[b.length]!;
}

/** The nearest of `names`: one whose last parts are the wanted ones, or that differs in few letters; null if none is near. */
export function nearest(wanted: string, names: readonly string[]): string | null {
  const low = wanted.toLowerCase();
  const ending = names.find(
    (name) => /[./ ]/.test(name.at(-1 - low.length) ?? "") && name.toLowerCase().endsWith(low),
  );
  if (ending) return ending;
  let [best, least] = [null as string | null, Math.max(1, Math.floor(low.length / 3)) + 1];
  for (const name of names)
    for (const text of [name, name.slice(name.lastIndexOf(".") + 1), name.slice(name.indexOf("/") + 1)]) {
      const away = distance(low, text.toLowerCase());
      if (away < least) [best, least] = [name, away];
    }
  return best;
}
