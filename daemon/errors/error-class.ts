// Error classes: a category of the failure in one word, for tables that have no room for its text.
import type { FailureData } from '../base/failure.ts';

/** `remote`: the server or the connection to it failed. `request`: the request or its configuration is wrong. */
export type ErrorClass = 'policy' | 'auth' | 'timeout' | 'incompatible' | 'remote' | 'request' | 'internal';

const BY_EXIT: Readonly<Record<number, ErrorClass>> = { 5: 'policy', 6: 'auth', 7: 'timeout' };

/** Derives the class from the exit status (docs/bmux-protocol.md, "Exit statuses"), else from the HTTP status. */
export function classOf({ exitStatus, status }: Pick<FailureData, 'exitStatus' | 'status'>): ErrorClass {
  const byExit = BY_EXIT[exitStatus];
  if (byExit !== undefined) return byExit;
  if (status === 502 || status === 503) return 'remote';
  if (status === 409) return 'incompatible';
  return status < 500 ? 'request' : 'internal';
}
