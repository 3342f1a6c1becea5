// The class of a failure: what kind of thing went wrong, for a table that has no room for the text.
import type { FailureData } from '../base/failure.ts';

/** `remote`: the other side, or the way to it. `request`: what was asked for, or the config behind it. */
export type ErrorClass = 'policy' | 'auth' | 'timeout' | 'incompatible' | 'remote' | 'request' | 'internal';

const BY_EXIT: Readonly<Record<number, ErrorClass>> = { 5: 'policy', 6: 'auth', 7: 'timeout' };

/** Told by what the registry says of its code: the exit status (docs/bmux-protocol.md, "Exit statuses"), else the HTTP status. */
export function classOf({ exitStatus, status }: Pick<FailureData, 'exitStatus' | 'status'>): ErrorClass {
  const byExit = BY_EXIT[exitStatus];
  if (byExit !== undefined) return byExit;
  if (status === 502 || status === 503) return 'remote';
  if (status === 409) return 'incompatible';
  return status < 500 ? 'request' : 'internal';
}
