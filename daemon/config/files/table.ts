// Reads tables of a config by key path, and merges them. Keys come from files, so only own properties count.

/** A TOML table. */
export type Table = Readonly<Record<string, unknown>>;

/** True for a table: not an array and not a date. */
export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** The value at `path`, array elements by their index; undefined when there is none. */
export function valueAt(root: unknown, path: readonly string[]): unknown {
  let current = root;
  for (const key of path) {
    if (Array.isArray(current))
      current = /^\d+$/u.test(key) ? (current as unknown[])[Number(key)] : undefined;
    else if (isTable(current) && Object.hasOwn(current, key)) current = current[key];
    else return undefined;
  }
  return current;
}

/** The table at `path`; an empty one when there is none or something else. */
export function tableAt(root: Table, path: readonly string[]): Table {
  const value = valueAt(root, path);
  return isTable(value) ? value : {};
}

/** `over` on top of `under`: tables merge by key, everything else is replaced (docs/bmux-protocol.md, "Config layers"). Neither is changed. */
export function merged(under: unknown, over: unknown): unknown {
  if (!isTable(over)) return over;
  // Without a prototype, a key such as `__proto__` is an ordinary key.
  const result = Object.create(null) as Record<string, unknown>;
  const base = isTable(under) ? under : {};
  for (const key of Object.keys(base)) result[key] = base[key];
  for (const key of Object.keys(over)) result[key] = merged(result[key], over[key]);
  return result;
}

/** Formats a dotted path as in TOML: parts that are no bare keys are quoted. */
export function dotted(path: readonly string[]): string {
  return path.map((part) => (/^[A-Za-z0-9_-]+$/u.test(part) ? part : JSON.stringify(part))).join('.');
}

/** Formats a value for an error: short, on one line. */
export function shown(value: unknown): string {
  // TOML has 64-bit integers, `nan` and `inf`; JSON has none of them.
  const json: unknown = JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'bigint' || (typeof inner === 'number' && !Number.isFinite(inner))
      ? String(inner)
      : inner,
  );
  const text = typeof value === 'bigint' || typeof value === 'number' ? String(value) : String(json);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
