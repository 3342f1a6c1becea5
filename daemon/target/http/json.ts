// Parses JSON as bmux does, whose parser refuses some of what JSON.parse takes.

/** Most arrays and objects within each other. */
const MAX_DEPTH = 127;

/** The value of `text`. Throws for what bmux refuses: deep nesting, numbers beyond a double, and lone surrogates. */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  refuse(value, 0);
  return value;
}

function refuse(value: unknown, depth: number): void {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error('a number is out of range');
  if (typeof value === 'string' && /\p{Surrogate}/u.test(value))
    throw new Error('a string has half a character');
  if (typeof value !== 'object' || value === null) return;
  if (depth === MAX_DEPTH) throw new Error('it is nested too deeply');
  // Not by Object.entries for lists: pairs of 1 MiB of numbers take 0.4 s.
  if (!Array.isArray(value)) Object.keys(value).forEach((key) => refuse(key, depth));
  for (const inner of Object.values(value)) refuse(inner, depth + 1);
}
