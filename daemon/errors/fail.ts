// Makes failures from the registry, so that no text is written anywhere else.
import { causeTexts, Failure, textOf, type FailureData } from '../base/failure.ts';
import { REGISTRY, type Code } from './registry.ts';

export type { Code } from './registry.ts';

/** Values for the `{name}` places of a row's text. */
export type Values = Readonly<Record<string, string | number>>;

function fill(text: string, values: Values): string {
  return text.replace(/\{(\w+)\}/g, (place, name: string) => {
    const value = values[name];
    return value === undefined ? place : String(value);
  });
}

/** A failure of the registry. `cause` is kept, and its texts are shown under the failure's own. */
export function fail(code: Code, values: Values = {}, cause?: unknown): Failure {
  const row = REGISTRY[code];
  const data: FailureData = {
    code,
    detail: fill(row.text, values),
    remedy: fill(row.remedy, values),
    exitStatus: row.exit,
    status: row.status,
    causes: cause === undefined ? [] : causeTexts(cause),
  };
  return new Failure(data, cause);
}

/** Any thrown value as a failure: ours as it is, anything else as `internal`. */
export function asFailure(error: unknown): Failure {
  return error instanceof Failure ? error : fail('internal', { why: textOf(error) }, error);
}

/** The same failure, with what the user should know besides. */
export function warned(failure: Failure, warnings: readonly string[]): Failure {
  return warnings.length === 0 ? failure : new Failure({ ...failure.data, warnings }, failure.cause);
}

/** A failure that came from another process as data. */
export function revive(data: FailureData): Failure {
  return new Failure(data);
}
