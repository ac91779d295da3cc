/** Which lines are not drawn. */

/** What is hidden after a click on one of `all`: it, or not; with Shift all others, or none. */
export function hiddenAfter<T>(hidden: readonly T[], one: T, all: readonly T[], only: boolean): T[] {
  const others = all.filter((other) => other !== one);
  if (!only) return hidden.includes(one) ? hidden.filter((other) => other !== one) : [...hidden, one];
  const isAlone = !hidden.includes(one) && others.every((other) => hidden.includes(other));
  return isAlone ? [] : others;
}
