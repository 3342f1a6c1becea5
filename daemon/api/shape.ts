// Checks the form of data from another process, which may be of another version. No validator package is used: loading one takes 250 to
// 400 ms [measured], twice the time in which `bmuxd status` has to answer. Each check knows its JSON Schema, for `GET /v1/openapi.json`.

/** The part of JSON Schema that the checks need. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A function that tells whether a value has the form `T`. */
export type Shape<T> = ((value: unknown) => value is T) & { readonly schema: JsonSchema };

interface Optional<T> {
  readonly optional: Shape<T>;
}

/** A check for every field of `T`. The compiler rejects an object that lacks one or has one of another type. */
export type Fields<T> = {
  readonly [K in keyof T]-?: object extends Pick<T, K> ? Optional<Exclude<T[K], undefined>> : Shape<T[K]>;
};

/** A check with its schema. */
export function shaped<T>(schema: JsonSchema, check: (value: unknown) => value is T): Shape<T> {
  return Object.assign(check, { schema });
}

export const anything = shaped({}, (_value): _value is unknown => true);
export const text = shaped({ type: 'string' }, (value): value is string => typeof value === 'string');
export const truth = shaped({ type: 'boolean' }, (value): value is boolean => typeof value === 'boolean');
export const number = shaped({ type: 'number' }, (value): value is number => typeof value === 'number');

/** Exactly this value. */
export function exactly<const T extends string | number>(wanted: T): Shape<T> {
  return shaped({ const: wanted }, (value): value is T => value === wanted);
}

/** One of these values. */
export function oneOf<const T extends string | number>(...wanted: readonly T[]): Shape<T> {
  return shaped({ enum: wanted }, (value): value is T => wanted.some((one) => one === value));
}

/** A word of a list that a later version may extend. Unknown words are accepted, because they are only shown. */
export function word<T extends string>(): Shape<T> {
  return shaped({ type: 'string' }, (value): value is T => typeof value === 'string');
}

export function list<T>(item: Shape<T>): Shape<readonly T[]> {
  const schema = { type: 'array', items: item.schema };
  return shaped(
    schema,
    (value): value is readonly T[] => Array.isArray(value) && value.every((one) => item(one)),
  );
}

/** An object whose fields have any names and this form. */
export function record<T>(item: Shape<T>): Shape<Readonly<Record<string, T>>> {
  return shaped(
    { type: 'object', additionalProperties: item.schema },
    (value): value is Readonly<Record<string, T>> =>
      typeof value === 'object' && value !== null && Object.values(value).every((one) => item(one)),
  );
}

/** A field that may be missing. */
export function optional<T>(shape: Shape<T>): Optional<T> {
  return { optional: shape };
}

/** An object with these fields. Further fields are accepted, because a later version may add some. */
export function object<T extends object>(fields: Fields<T>): Shape<T> {
  const checks = Object.entries<Shape<unknown> | Optional<unknown>>(fields);
  const required = checks.filter(([, check]) => typeof check === 'function').map(([name]) => name);
  const properties = Object.fromEntries(
    checks.map(([name, check]) => [name, typeof check === 'function' ? check.schema : check.optional.schema]),
  );
  const schema = { type: 'object', properties, ...(required.length === 0 ? {} : { required }) };
  return shaped(schema, (value): value is T => {
    if (typeof value !== 'object' || value === null) return false;
    return checks.every(([name, check]) => {
      const field: unknown = Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined;
      if (typeof check === 'function') return check(field);
      return field === undefined || check.optional(field);
    });
  });
}
