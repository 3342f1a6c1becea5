// The file beside the target sockets of a context that a shell reads (`bmuxd shell-init`). A shell reads a line faster than it starts a process.
// Its lines begin with a letter: V the version and P the process of the daemon, K a key of callers, D the default target, L a target that needs no
// broker, R a folder and its target, W the same for a target that answers and of which nothing has to be said (daemon/cli/shell/front.sh).
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
  'KRB5CCNAME',
];

/** The variables whose values make the key of a caller. */
export const KEY_NAMES = ENV_WHITELIST.filter((name) => !NO_KEY.includes(name));

/** The key of a shell, as `shellKey` makes it, in the words of a shell. */
export const KEY_IN_SHELL = KEY_NAMES.map((name) => `\${${name}+${name}=$${name}|}`).join('');

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

interface Folder {
  readonly name: string;
  readonly folder: string;
}

export interface ShellFile {
  /** Of the daemon. */
  readonly version: string;
  /** The process that keeps the file up to date; undefined where a shell could not tell it from a later one with its id. */
  readonly process: { readonly pid: number; readonly start: string } | undefined;
  readonly keys: readonly string[];
  /** Undefined when the default target needs no broker. */
  readonly defaultTarget: string | undefined;
  readonly local: readonly string[];
  readonly remote: readonly Folder[];
  readonly ready: readonly Folder[];
}

/** A shell reads the lines up to the one that it needs, so names that are no line are left out. */
export function shellFileText(file: ShellFile): string {
  const { version, process, keys, defaultTarget, local, remote, ready } = file;
  const lines = [
    `V${version}`,
    ...(process === undefined ? [] : [`P${String(process.pid)} ${process.start}`]),
    ...keys.map((key) => `K${key}`),
    `D${defaultTarget ?? ''}`,
    ...local.map((name) => `L${name}`),
    ...remote.map(({ name, folder }) => `R${folder} ${name}`),
    ...ready.map(({ name, folder }) => `W${folder} ${name}`),
  ];
  return lines
    .filter((line) => !line.includes('\n'))
    .map((line) => `${line}\n`)
    .join('');
}
