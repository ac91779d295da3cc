/** Metrics in the order of their names, the splits of one beside each other, validation first. */
export function orderScores(names: readonly string[]): string[] {
  const rank = (split: string) => ["val", "train", "test"].indexOf(split) + 1 || 9;
  const part = (name: string) =>
    [name.slice(name.indexOf("/") + 1), name.slice(0, name.indexOf("/"))] as const;
  return [...names].sort((a, b) => {
    const [[metricA, splitA], [metricB, splitB]] = [part(a), part(b)];
    return metricA.localeCompare(metricB) || rank(splitA) - rank(splitB) || splitA.localeCompare(splitB);
  });
}
