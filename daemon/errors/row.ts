// A row of the registry of errors.
import type { ErrorClass } from '../base/failure.ts';

/** One row of the registry. */
export interface ErrorRow {
  /** What kind of failure it is. `fail` may find a narrower class in the cause (daemon/errors/error-class.ts). */
  readonly class: ErrorClass;
  /** HTTP status of an answer with this failure. */
  readonly status: number;
  /** Exit status of our commands: docs/bmux-protocol.md, "Exit statuses". */
  readonly exit: number;
  readonly text: string;
  readonly remedy: string;
}

export const row = (
  [status, exit, kind]: readonly [status: number, exit: number, kind: ErrorClass],
  text: string,
  remedy: string,
): ErrorRow => ({
  class: kind,
  status,
  exit,
  text,
  remedy,
});
