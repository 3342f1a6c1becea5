// What was read of an environment: whoever says the same in all of it gets the same, whatever else is in the environment.
import type { Env } from '../../base/paths.ts';

/** Variables that were asked for, with what they held. */
export type Reads = ReadonlyMap<string, string | undefined>;

/** `env` as it is; what is asked for is noted in `reads`. */
export function noted(env: Env, reads: Map<string, string | undefined>): Env {
  return new Proxy(env, {
    get: (of, name) => {
      if (typeof name !== 'string') return undefined;
      reads.set(name, of[name]);
      return of[name];
    },
  });
}

/** True when `env` holds what was read. */
export function agrees(env: Env, reads: Reads): boolean {
  for (const [name, value] of reads) if (env[name] !== value) return false;
  return true;
}
