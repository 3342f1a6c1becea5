// What a target socket is to a bmux: the variables that lead it there, and how they are taken back.
import { basename, dirname } from 'node:path';
import { bmuxdPaths, type Env } from '../base/paths.ts';

/** Folders of target sockets in the bmuxd dir: those of the daemon's own context and of others. */
export const TARGETS_FOLDER = /^targets(-[0-9a-f]{8})?$/;

/** Names and values, in order. */
export type Variables = readonly (readonly [name: string, value: string])[];

/** Of somebody's own variables those that a target socket needs otherwise. */
const REPLACED = ['BMUX_RUNTIME_DIR', 'BMUX_TARGET', 'BMUX_RUNTIME_NAME'] as const;
/** What they were, as JSON: a bmux ignores it, and who asks for another target is not in the folder of this one. */
const BEFORE = 'BMUXD_ENV_BEFORE';

/** What leads an unmodified bmux to the target socket in `runtimeDir`. `before`: the environment that this is set in, without any target socket. */
export function targetSocketVariables(runtimeDir: string, controlSocket: string, before: Env): Variables {
  const own = REPLACED.filter((name) => before[name] !== undefined);
  const kept = own.length === 0 ? '' : JSON.stringify(before, own);
  return [
    ['BMUX_RUNTIME_DIR', runtimeDir],
    // A default_target in the config would dial past the broker; a runtime name would look in a folder below.
    ['BMUX_TARGET', 'local'],
    ['BMUX_RUNTIME_NAME', ''],
    ['BMUXD_SOCKET', controlSocket],
    // One that is left from a former target socket says nothing any more.
    ...(kept === '' && before[BEFORE] === undefined ? [] : [[BEFORE, kept] as const]),
  ];
}

/** The environment of somebody in whose shell `bmuxd env` was evaluated, as it was before: a target socket has no targets of its own. */
export function withoutTargetSocket(env: Env): Env {
  const { dir, controlSocket } = bmuxdPaths(env);
  const parent = dirname(env['BMUX_RUNTIME_DIR'] ?? '');
  if (!TARGETS_FOLDER.test(basename(parent)) || ![dir, dirname(controlSocket)].includes(dirname(parent)))
    return env;
  const { BMUX_RUNTIME_DIR: _, BMUX_TARGET: __, BMUX_RUNTIME_NAME: ___, [BEFORE]: kept = '', ...rest } = env;
  return { ...rest, ...variablesIn(kept) };
}

/** None, when somebody has written there what is no list of variables. */
function variablesIn(kept: string): Env {
  let parsed: unknown;
  try {
    parsed = JSON.parse(kept);
  } catch {
    return {};
  }
  if (typeof parsed !== 'object' || parsed === null) return {};
  const own = Object.entries(parsed).filter(
    (entry): entry is [string, string] =>
      REPLACED.some((name) => name === entry[0]) && typeof entry[1] === 'string',
  );
  return Object.fromEntries(own);
}
