// Parses the lines that a bmux host sends in the SSH auth exchange (docs/bmux-protocol.md, "SSH auth"). Lines are validated before use.
import { fail } from '../../errors/fail.ts';

const CHALLENGE_BYTES = 32;

export interface Challenge {
  /** 32 bytes. */
  readonly challenge: Buffer;
  readonly allowedFingerprints: readonly string[];
}

export interface Result {
  readonly ok: boolean;
  readonly error: string | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

function invalid(why: string): Error {
  return fail('line_invalid', { why });
}

function fieldsOf(line: string, type: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw invalid('not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('not an object');
  const fields = value as Fields;
  if (fields['type'] !== type) throw invalid(`expected a line of type ${type}`);
  return fields;
}

function isByte(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255;
}

/** Parses a `challenge` line. Throws line_invalid. */
export function parseChallenge(line: string): Challenge {
  const { challenge, allowed_fingerprints: allowed } = fieldsOf(line, 'challenge');
  if (!Array.isArray(challenge) || challenge.length !== CHALLENGE_BYTES || !challenge.every(isByte)) {
    throw invalid(`challenge is not ${String(CHALLENGE_BYTES)} bytes`);
  }
  if (!Array.isArray(allowed) || !allowed.every((entry) => typeof entry === 'string')) {
    throw invalid('allowed_fingerprints is not a list of strings');
  }
  return { challenge: Buffer.from(challenge), allowedFingerprints: allowed };
}

/** Parses a `result` line. Throws line_invalid. */
export function parseResult(line: string): Result {
  const { ok, error } = fieldsOf(line, 'result');
  if (typeof ok !== 'boolean') throw invalid('ok is not a boolean');
  return { ok, error: typeof error === 'string' ? error : undefined };
}
