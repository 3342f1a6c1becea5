// Refuses a version of Node that lacks an undocumented function that bmuxd needs. Streams could lose bytes on such a version.
import { missingInternals } from '../base/node-internals.ts';
import { fail } from '../errors/fail.ts';

/** Throws `node_unsupported`, which names the missing functions. */
export function checkNodeInternals(): void {
  const missing = missingInternals();
  if (missing.length > 0)
    throw fail('node_unsupported', { version: process.version, missing: missing.join(', ') });
}
