// Checks of what another process says, which may be of another version. No package: a validator takes 250 to 400 ms to load [measured], twice the
// time in which `bmuxd status` has to answer, and the shim loads none at all.

/** Says whether a value has a form. */
export type Shape<T> = (value: unknown) => value is T;

interface Optional<T> {
  readonly optional: Shape<T>;
}

/** A check for every field of `T`: the compiler refuses a list in which one is missing or of another type. */
type Fields<T> = {
  readonly [K in keyof T]-?: object extends Pick<T, K> ? Optional<Exclude<T[K], undefined>> : Shape<T[K]>;
};

export const anything = (_value: unknown): _value is unknown => true;
export const text = (value: unknown): value is string => typeof value === 'string';
export const truth = (value: unknown): value is boolean => typeof value === 'boolean';
export const number = (value: unknown): value is number => typeof value === 'number';

/** Exactly this value. */
export function exactly<const T extends string | number>(wanted: T): Shape<T> {
  return (value): value is T => value === wanted;
}

/** One of these values. */
export function oneOf<const T extends string | number>(...wanted: readonly T[]): Shape<T> {
  return (value): value is T => wanted.some((one) => one === value);
}

/** A word of a list to which a later version may add: it is shown, and nothing depends on it. */
export function word<T extends string>(): Shape<T> {
  return (value): value is T => typeof value === 'string';
}

export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  return (value): value is readonly T[] => Array.isArray(value) && value.every((one) => item(one));
}

/** A field that may be missing. */
export function optional<T>(shape: Shape<T>): Optional<T> {
  return { optional: shape };
}

/** An object with these fields. It may have others: fields are only ever added. */
export function object<T extends object>(fields: Fields<T>): Shape<T> {
  const checks = Object.entries<Shape<unknown> | Optional<unknown>>(fields);
  return (value): value is T => {
    if (typeof value !== 'object' || value === null) return false;
    const own = new Map<string, unknown>(Object.entries(value));
    return checks.every(([name, check]) => {
      const field = own.get(name);
      if (typeof check === 'function') return check(field);
      return field === undefined || check.optional(field);
    });
  };
}
