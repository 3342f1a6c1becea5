// What makes two callers one context: what their environments resolve to (design.md, "Contexts"). What else the files make read of an environment
// is known when they have been read (daemon/config/bmux/reads.ts).
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { appended, bmuxPaths, type BmuxPaths } from '../../base/paths.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import { manifestFile, slotNameOf } from '../../config/bmux/slots.ts';
import type { CallerEnv } from '../../api/request.ts';

export interface ContextInputs {
  readonly key: string;
  readonly paths: BmuxPaths;
  readonly env: CallerEnv;
  /** Where relative paths start; every one that is known is absolute. */
  readonly cwd: string;
  readonly slot: string | undefined;
}

/** `cwd` is the caller's folder. Where it names none, a relative path starts at the root: the daemon's own folder is nobody's business. */
export function contextInputs(
  env: CallerEnv,
  callerCwd: string | undefined,
  slot: string | undefined,
): ContextInputs {
  const cwd = callerCwd !== undefined && isAbsolute(callerCwd) ? callerCwd : '/';
  const paths = bmuxPaths(env, process.platform, cwd);
  return { key: keyOf(env, paths, cwd, slot), paths, env, cwd, slot };
}

/** Every path that is looked at, as text. Those of the log are not, and without a slot neither are the roots. */
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

/** A short name for a context: the same for who has the same key and read the same, whenever that is. */
export function contextName(key: string, reads: Reads): string {
  const named = [...reads].sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([key, named.map(([name, value]) => [name, value ?? null])]);
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
