// The variables that make an unmodified bmux use a target socket, and how their former values are restored.
import { basename, dirname } from 'node:path';
import { bmuxdPaths, type Env } from '../base/paths.ts';

/** Folders of target sockets in bmuxd's runtime dir: `targets` for the daemon's own context, one with a suffix for each other. */
export const TARGETS_FOLDER = /^targets(-[0-9a-f]{8})?$/;

/** Names and values, in order. */
export type SetVariables = readonly (readonly [name: string, value: string])[];

/** The user's variables that a target socket replaces. */
const REPLACED = ['BMUX_RUNTIME_DIR', 'BMUX_TARGET', 'BMUX_RUNTIME_NAME'] as const;
/** Holds the replaced values as JSON, so that a request for another target is not resolved in this socket's folder. bmux ignores it. */
const BEFORE = 'BMUXD_ENV_BEFORE';

/** Variables that make bmux use the target socket in `runtimeDir`. `before`: the environment to set them in, without those of a target socket. */
export function targetSocketVariables(runtimeDir: string, controlSocket: string, before: Env): SetVariables {
  const own = REPLACED.filter((name) => before[name] !== undefined);
  const kept = own.length === 0 ? '' : JSON.stringify(before, own);
  return [
    ['BMUX_RUNTIME_DIR', runtimeDir],
    // A default_target of the config would bypass the broker, and a runtime name would select a subfolder.
    ['BMUX_TARGET', 'local'],
    ['BMUX_RUNTIME_NAME', ''],
    ['BMUXD_SOCKET', controlSocket],
    // A value left by a former target socket is out of date, so it is overwritten.
    ...(kept === '' && before[BEFORE] === undefined ? [] : [[BEFORE, kept] as const]),
  ];
}

/** Undoes the variables of `bmuxd env`: targets are resolved in the user's own environment, since a target socket configures none. */
export function withoutTargetSocket(env: Env): Env {
  const { dir, controlSocket } = bmuxdPaths(env);
  const parent = dirname(env['BMUX_RUNTIME_DIR'] ?? '');
  if (!TARGETS_FOLDER.test(basename(parent)) || ![dir, dirname(controlSocket)].includes(dirname(parent)))
    return env;
  const { BMUX_RUNTIME_DIR: _, BMUX_TARGET: __, BMUX_RUNTIME_NAME: ___, [BEFORE]: kept = '', ...rest } = env;
  return { ...rest, ...variablesIn(kept) };
}

/** What undoes the variables of `bmuxd env` in `env`: names with their former values; undefined for those that were not set. */
export function undoTargetSocket(env: Env): readonly (readonly [name: string, value: string | undefined])[] {
  const before = withoutTargetSocket(env);
  if (before === env) return [];
  const { BMUXD_SOCKET: socket, ...others } = before;
  // The user's own value may be the usual path, and undoing that changes nothing.
  const isOurs = socket === bmuxdPaths(others).controlSocket;
  return [
    ...REPLACED.map((name) => [name, before[name]] as const),
    [BEFORE, undefined],
    ...(isOurs ? [['BMUXD_SOCKET', undefined] as const] : []),
  ];
}

/** Parses the saved variables; empty if `kept` is not a JSON object. */
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
