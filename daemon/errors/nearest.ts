// Finds the names that a misspelt word may mean.

/** Longer words are not compared. */
const MAX_LENGTH = 64;
/** Names that are suggested at most. */
const MAX_NAMES = 3;

/** Letters to insert, remove, replace or swap with their neighbour. */
function distance(from: string, to: string): number {
  let before: number[] = [];
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      const isSwapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      const swapped = isSwapped ? (before[j - 2] ?? 0) + 1 : Infinity;
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    [before, row] = [row, next];
  }
  return row[to.length] ?? 0;
}

/** The names most similar to `written`, the nearest first; upper and lower case are the same. Empty when none is similar. */
export function nearest(written: string, names: Iterable<string>): string[] {
  const word = written.toLowerCase();
  if (word === '' || word.length > MAX_LENGTH) return [];
  const near = [...names]
    .filter((name) => name.length <= MAX_LENGTH)
    .map((name) => {
      const isBegun = word.length > 1 && name.toLowerCase().startsWith(word);
      return { name, away: isBegun ? 1 : distance(word, name.toLowerCase()) };
    })
    .filter(({ name, away }) => {
      const shorter = Math.min(word.length, name.length);
      return away <= Math.max(2, Math.floor(name.length / 4)) && (away < shorter || away === 0);
    })
    .sort((left, right) => left.away - right.away)
    .slice(0, MAX_NAMES);
  const best = near[0]?.away ?? 0;
  return near.filter(({ away }) => away <= (best === 0 ? 0 : best + 1)).map(({ name }) => name);
}

/** Suggests the most similar names, as the end of a sentence; empty when none is similar. */
export function meant(written: string, names: Iterable<string>): string {
  const found = nearest(written, names);
  const last = found.pop();
  if (last === undefined) return '';
  return `; did you mean ${found.length === 0 ? last : `${found.join(', ')} or ${last}`}?`;
}
