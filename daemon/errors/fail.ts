// Creates failures from the registry, so that every error text is defined only there.
import {
  causeTexts,
  errnoOf,
  Failure,
  isOutOfFiles,
  textOf,
  type ErrorClass,
  type FailureData,
} from '../base/failure.ts';
import { withoutCredentials } from '../base/redact.ts';
import { classOfCause } from './error-class.ts';
import { REGISTRY, type Code } from './registry.ts';

export type { Code } from './registry.ts';

/** Values for the `{name}` placeholders of a row's text. */
export type Values = Readonly<Record<string, string | number>>;

function fill(text: string, values: Values): string {
  return text.replace(/\{(\w+)\}/g, (placeholder, name: string) => {
    const value = values[name];
    return value === undefined ? placeholder : String(value);
  });
}

/**
 * Creates the failure with this code. `cause` is kept, and its texts are shown after the failure's own. A lack of descriptors or of a network has its own remedy. No text shows credentials: a target
 * or a relay URL may contain them.
 */
export function fail(code: Code, values: Values = {}, cause?: unknown): Failure {
  const row = REGISTRY[code];
  // Nothing is known of the server then.
  if (row.class === 'server_gone' && isOutOfFiles(cause)) return outOfFiles(cause);
  const kind = (row.class === 'server_gone' ? classOfCause(cause) : undefined) ?? row.class;
  const data: FailureData = {
    code,
    class: kind,
    detail: withoutCredentials(fill(row.text, values)),
    remedy: remedyFor(kind, cause) ?? withoutCredentials(fill(row.remedy, values)),
    exitStatus: row.exit,
    status: row.status,
    causes: cause === undefined ? [] : causeTexts(cause).map(withoutCredentials),
  };
  return new Failure(data, cause);
}

/** The remedy for a lack of this machine, whatever the code; undefined without one. */
function remedyFor(kind: ErrorClass, cause: unknown): string | undefined {
  if (isOutOfFiles(cause)) return REGISTRY.files_exhausted.remedy;
  return kind === 'offline' ? 'This machine has no network: connect it to one.' : undefined;
}

/** Converts any thrown value: a `Failure` stays as it is, a lack in the environment is named, anything else becomes `internal`. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (isOutOfFiles(error)) return outOfFiles(error);
  if (errnoOf(error) === 'ERR_SYSTEM_ERROR' && isAboutHome(error)) return fail('home_unknown');
  return fail('internal', { why: textOf(error) }, error);
}

function outOfFiles(error: unknown): Failure {
  return fail('files_exhausted', { why: textOf(error) });
}

/** Whether the error is that of `homedir()` or `userInfo()` of node:os. */
function isAboutHome(error: unknown): boolean {
  return (
    error instanceof Error && 'syscall' in error && /^uv_os_(homedir|get_passwd)$/.test(String(error.syscall))
  );
}

/** The same failure with these warnings for the user. */
export function warned(failure: Failure, warnings: readonly string[]): Failure {
  if (warnings.length === 0) return failure;
  return new Failure({ ...failure.data, warnings: warnings.map(withoutCredentials) }, failure.cause);
}

/** The same failure with another remedy, which fits the case better. */
export function advised(failure: Failure, remedy: string): Failure {
  return new Failure({ ...failure.data, remedy }, failure.cause);
}

/** Converts failure data of another process to a `Failure`. */
export function revive(data: FailureData): Failure {
  return new Failure(data);
}
