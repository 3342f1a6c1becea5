// What makes two callers one context: everything that decides their files and what is read from them (design.md, "Contexts").
import { isAbsolute } from 'node:path';
import { bmuxPaths, type BmuxPaths } from '../base/paths.ts';
import type { CallerEnv, EnvName } from '../wire/request.ts';

/** Of the request, not of the context: they decide no file. */
const OF_THE_REQUEST: ReadonlySet<EnvName> = new Set([
  'BMUX_TARGET',
  'BMUX_CONTROL_PLANE_URL',
  'TERM',
  'SSH_AUTH_SOCK',
]);

/** Variables that hold a path: a relative one is meant from the caller's folder. */
const PATHS: readonly EnvName[] = [
  'BMUX_CONFIG',
  'BMUX_CONFIG_DIR',
  'BMUX_RUNTIME_DIR',
  'BMUX_DATA_DIR',
  'BMUX_STATE_DIR',
  'BMUX_LOG_DIR',
  'BMUX_SLOTS_MANIFEST',
  'BMUX_SLOTS_ROOT',
  'XDG_RUNTIME_DIR',
  'XDG_STATE_HOME',
  'HOME',
  'TMPDIR',
];

export interface ContextInputs {
  readonly key: string;
  readonly paths: BmuxPaths;
  /** The caller's environment without what belongs to the request alone. */
  readonly env: CallerEnv;
  /** Where relative paths start; every one that is known is absolute. */
  readonly cwd: string;
  readonly slot: string | undefined;
}

/** `cwd` is the caller's folder. Where it names none, a relative path starts at the root: the daemon's own folder is nobody's business. */
export function contextInputs(
  caller: CallerEnv,
  callerCwd: string | undefined,
  slot: string | undefined,
): ContextInputs {
  const cwd = callerCwd !== undefined && isAbsolute(callerCwd) ? callerCwd : '/';
  const env: Partial<Record<EnvName, string>> = { ...caller };
  for (const name of OF_THE_REQUEST) delete env[name];
  const paths = bmuxPaths(env, process.platform, cwd);
  const relative = PATHS.some((name) => {
    const value = env[name];
    return value !== undefined && !isAbsolute(value);
  });
  const named = Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
  return { key: JSON.stringify([named, slot ?? null, relative ? cwd : null]), paths, env, cwd, slot };
}
