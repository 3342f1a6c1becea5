// The key of a context: the paths that a caller's environment resolves to (docs/decisions/contexts.md). Callers with one key share a context
// if they also agree in the variables that its files read, which are known after a reading (daemon/config/bmux/reads.ts).
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { appended, bmuxPaths, type BmuxPaths } from '../../base/paths.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import { manifestFile, slotNameOf } from '../../config/bmux/slots.ts';
import type { CallerEnv } from '../../api/request.ts';

export interface ContextInputs {
  /** Equal for callers whose environments resolve to the same files. */
  readonly key: string;
  readonly paths: BmuxPaths;
  readonly env: CallerEnv;
  /** Absolute folder that relative paths are resolved against. */
  readonly cwd: string;
  readonly slot: string | undefined;
}

/**
 * The key and the paths for a caller. `callerCwd` is its folder. Without an absolute one, relative paths are resolved against `/`, never
 * against the daemon's own folder.
 */
export function contextInputs(
  env: CallerEnv,
  callerCwd: string | undefined,
  slot: string | undefined,
): ContextInputs {
  const cwd = callerCwd !== undefined && isAbsolute(callerCwd) ? callerCwd : '/';
  const paths = bmuxPaths(env, process.platform, cwd);
  return { key: pathsKey(env, paths, cwd, slot), paths, env, cwd, slot };
}

/** All paths that are used, as JSON. Paths of logs are left out, and the roots count only with a slot. */
function pathsKey(env: CallerEnv, paths: BmuxPaths, cwd: string, explicit: string | undefined): string {
  const { configDirs, runtimeDir, runtimeName, principalId, stateDir } = paths;
  const { configRoot, runtimeRoot, stateRoot, slotsRoot } = paths;
  const named = env.BMUX_CONFIG;
  const slot = slotNameOf({ env, explicit });
  return JSON.stringify([
    [configDirs, runtimeDir, runtimeName, principalId, stateDir],
    named === undefined ? null : appended(cwd, named),
    slot === undefined
      ? null
      : [slot, manifestFile(env, paths, cwd), configRoot, runtimeRoot, stateRoot, slotsRoot],
  ]);
}

/** The name of a context, 8 hex digits. It is the same for the same key and the same variables read, with the same values. */
export function contextName(key: string, reads: Reads): string {
  const named = [...reads].sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([key, named.map(([name, value]) => [name, value ?? null])]);
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
