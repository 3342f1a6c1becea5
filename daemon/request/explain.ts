// Reduces a validator's list of errors to one field and one reason for the user.
import { quoted } from '../base/quote.ts';

/** The part of a validator's error that is used here; `instancePath` is a JSON pointer. */
export interface ValidationError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: object;
}

/** Longest field name that a text shows, UTF-16 units. */
const SHOWN = 64;

/** Returns `field` (dotted, as `env.HOME`) and `why` of the first error. An unknown field is named before any other error. */
export function explain(errors: readonly ValidationError[]): { field: string; why: string } {
  for (const error of errors) {
    const [unknown] = list(error.params, 'additionalProperties');
    if (error.keyword === 'additionalProperties' && typeof unknown === 'string') {
      return { field: shown([...steps(error.instancePath), unknown]), why: 'there is no such field' };
    }
  }
  const first = errors[0];
  if (first === undefined) return { field: 'request', why: 'it is not valid' };
  // A union reports one error for each of its members; together they list the accepted values.
  const constants = errors
    .filter((error) => error.keyword === 'const' && error.instancePath === first.instancePath)
    .map((error) => ('allowedValue' in error.params ? JSON.stringify(error.params.allowedValue) : ''));
  return {
    field: shown(steps(first.instancePath)),
    why: constants.length > 0 ? `must be one of ${constants.join(', ')}` : first.message,
  };
}

function list(params: object, key: string): readonly unknown[] {
  const value: unknown = Object.entries(params).find(([name]) => name === key)?.[1];
  return Array.isArray(value) ? value : [];
}

/** Splits a JSON pointer into its parts (RFC 6901). */
function steps(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function shown(path: readonly string[]): string {
  const name = path.join('.');
  const cut = name.length > SHOWN ? `${name.slice(0, SHOWN)}…` : name;
  return /^[\w.]+$/.test(cut) ? cut : quoted(cut);
}
