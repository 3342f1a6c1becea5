// Refuses a Node that lacks what bmuxd uses beyond Node's documentation, before it can cost anybody a byte.
import { missingInternals } from '../base/node-internals.ts';
import { fail } from '../errors/fail.ts';

/** Throws `node_unsupported`, which names what is missing. */
export function checkNodeInternals(): void {
  const missing = missingInternals();
  if (missing.length > 0)
    throw fail('node_unsupported', { version: process.version, missing: missing.join(', ') });
}
