// What a target socket is to a bmux: the variables that lead it there, and how they are taken back.
import { basename, dirname } from 'node:path';
import { bmuxdPaths, type Env } from '../base/paths.ts';

/** Folders of doors in the bmuxd dir: those of the daemon's own context and of others. */
export const DOORS_FOLDER = /^targets(-[0-9a-f]{8})?$/;

/** Names and values, in order (design.md "Two doors"). */
export type Variables = readonly (readonly [name: string, value: string])[];

/** What leads an unmodified bmux to the target socket in `runtimeDir`. */
export function doorVariables(runtimeDir: string, controlSocket: string): Variables {
  return [
    ['BMUX_RUNTIME_DIR', runtimeDir],
    // A default_target in the config would dial past the broker; a runtime name would look in a folder below.
    ['BMUX_TARGET', 'local'],
    ['BMUX_RUNTIME_NAME', ''],
    ['BMUXD_SOCKET', controlSocket],
  ];
}

/** The environment of somebody in whose shell `bmuxd env` was evaluated, as it was before: a target socket has no targets of its own. */
export function withoutDoor(env: Env): Env {
  const { dir, controlSocket } = bmuxdPaths(env);
  const parent = dirname(env['BMUX_RUNTIME_DIR'] ?? '');
  if (!DOORS_FOLDER.test(basename(parent)) || ![dir, dirname(controlSocket)].includes(dirname(parent)))
    return env;
  const { BMUX_RUNTIME_DIR: _, BMUX_TARGET: __, BMUX_RUNTIME_NAME: ___, ...before } = env;
  return before;
}
