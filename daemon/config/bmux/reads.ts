// Records which variables of an environment were read, so that environments with the same values for them share one result.
import type { Env } from '../../base/paths.ts';

/** Variables that were read, with their values. */
export type Reads = ReadonlyMap<string, string | undefined>;

/** Wraps `env` so that each variable that is read is recorded in `reads`. */
export function noted(env: Env, reads: Map<string, string | undefined>): Env {
  return new Proxy(env, {
    get: (of, name) => {
      if (typeof name !== 'string') return undefined;
      reads.set(name, of[name]);
      return of[name];
    },
  });
}

/** True when all recorded variables have the same value in `env`. */
export function agrees(env: Env, reads: Reads): boolean {
  for (const [name, value] of reads) if (env[name] !== value) return false;
  return true;
}
