// What makes two callers one context: the paths that their environments resolve to (docs/decisions/contexts.md). Which other variables decide is
// known when the files have been read (daemon/config/bmux/reads.ts).
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { appended, bmuxPaths, type BmuxPaths } from '../../base/paths.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import { manifestFile, slotNameOf } from '../../config/bmux/slots.ts';
import type { CallerEnv } from '../../api/request.ts';

export interface ContextInputs {
  /** Names the set of files. */
  readonly key: string;
  readonly paths: BmuxPaths;
  readonly env: CallerEnv;
  /** Where relative paths start. */
  readonly cwd: string;
  readonly slot: string | undefined;
}

/** `callerCwd` is the caller's folder. Without one a relative path starts at the root, never at the daemon's own folder. */
export function contextInputs(
  env: CallerEnv,
  callerCwd: string | undefined,
  slot: string | undefined,
): ContextInputs {
  const cwd = callerCwd !== undefined && isAbsolute(callerCwd) ? callerCwd : '/';
  const paths = bmuxPaths(env, process.platform, cwd);
  return { key: keyOf(env, paths, cwd, slot), paths, env, cwd, slot };
}

/** Every path that is used, as text. The paths of the log are not used, and the roots only with a slot. */
function keyOf(env: CallerEnv, paths: BmuxPaths, cwd: string, explicit: string | undefined): string {
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

/** A short name for a context: always the same for the same key and the same values of what was read. */
export function contextName(key: string, reads: Reads): string {
  const named = [...reads].sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([key, named.map(([name, value]) => [name, value ?? null])]);
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
