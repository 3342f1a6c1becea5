// The file beside the target sockets of a context that a shell reads (`bmuxd shell-init`). A shell reads a line faster than it starts a process.
// Its lines begin with a letter: K a key of callers, D the default target, L a target that needs no broker, R a folder and its target.
import { isAbsolute } from 'node:path';
import { ENV_WHITELIST, type CallerEnv, type EnvName } from '../api/caller-env.ts';

/** Its name in a folder of target sockets. No target has a folder with such a name. */
export const SHELL_FILE = '.shell';

/** Variables that do not decide about a context, or that shells have without exporting them. */
const NO_KEY: readonly EnvName[] = [
  'BMUX_TARGET',
  'BMUX_CONTROL_PLANE_URL',
  'BMUX_LOG_DIR',
  'TERM',
  'HOST',
  'HOSTNAME',
];
/** Values that are no paths. */
const NO_PATH: readonly EnvName[] = [
  'BMUX_RUNTIME_NAME',
  'BMUX_RUNTIME',
  'BMUX_SLOT_NAME',
  'BMUX_NO_BASE_CONFIG',
];

/** The variables whose values make the key of a caller. */
export const KEY_NAMES = ENV_WHITELIST.filter((name) => !NO_KEY.includes(name));

/** The key of a caller, as a shell makes it of its variables; undefined when it depends on the folder of the caller, or is no line. */
export function shellKey(env: CallerEnv): string | undefined {
  let key = '';
  for (const name of KEY_NAMES) {
    const value = env[name];
    if (value === undefined) continue;
    if (value.includes('\n') || (!NO_PATH.includes(name) && !isAbsolute(value))) return undefined;
    key += `${name}=${value}|`;
  }
  return key;
}

export interface ShellFile {
  readonly keys: readonly string[];
  /** Undefined when the default target needs no broker. */
  readonly defaultTarget: string | undefined;
  readonly local: readonly string[];
  readonly remote: readonly { readonly name: string; readonly folder: string }[];
}

/** A shell reads the lines up to the one that it needs, so names that are no line are left out. */
export function shellFileText({ keys, defaultTarget, local, remote }: ShellFile): string {
  const lines = [
    ...keys.map((key) => `K${key}`),
    `D${defaultTarget ?? ''}`,
    ...local.map((name) => `L${name}`),
    ...remote.map(({ name, folder }) => `R${folder} ${name}`),
  ];
  return lines
    .filter((line) => !line.includes('\n'))
    .map((line) => `${line}\n`)
    .join('');
}
