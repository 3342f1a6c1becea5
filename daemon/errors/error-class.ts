// Error classes: what kind of failure it is, in one word. A row of the registry has one; the cause of a failure may tell more.
import { isOffline } from '../base/process/network.ts';
import { errnoOf, type ErrorClass, type FailureData } from '../base/failure.ts';

/** Errors of a lookup by name. */
const BY_NAME: ReadonlySet<string | undefined> = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_NODATA',
  'EAI_NONAME',
  'EAI_FAIL',
]);
/** Errors of a connect that does not reach its host. */
const NO_WAY: ReadonlySet<string | undefined> = new Set([
  'ENETUNREACH',
  'ENETDOWN',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
]);

/** The class of a failure to reach a server, as its cause tells it; undefined when the cause tells nothing. */
export function classOfCause(cause: unknown): ErrorClass | undefined {
  const errno = errnoOf(cause);
  if (errno === 'ECONNREFUSED') return 'refused';
  if (errno === 'ETIMEDOUT') return 'timeout';
  const isByName = BY_NAME.has(errno);
  if ((isByName || NO_WAY.has(errno)) && isOffline()) return 'offline';
  return isByName ? 'dns' : undefined;
}

/** The class of a failure, also of one that another version of bmuxd reports. */
export function classOf({ class: known, exitStatus }: Pick<FailureData, 'class' | 'exitStatus'>): ErrorClass {
  return known ?? (exitStatus === 7 ? 'timeout' : 'engine');
}
