// Where bmux and bmuxd keep their files: docs/bmux-protocol.md, "Paths", and docs/settings.md.
import { lstatSync } from 'node:fs';
import { homedir, tmpdir, userInfo } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** An environment; values may be missing. */
export type Env = Readonly<Record<string, string | undefined>>;

/** bmux's folders and files for one environment. A slot does not move them. */
export interface BmuxPaths {
  /** Folders in which a file is looked up, the first that has it wins; one on Linux, two on macOS. */
  readonly configDirs: readonly [string, ...string[]];
  readonly runtimeDir: string;
  /** Name of the runtime in texts: `default`, or BMUX_RUNTIME_NAME trimmed. */
  readonly runtimeName: string;
  readonly serverSocket: string;
  readonly serverMeta: string;
  readonly authState: string;
  readonly dataDir: string;
  /** `{data dir}/runtime/principal-id`. */
  readonly principalId: string;
  readonly stateDir: string;
  readonly logDir: string;
  /**
   * Folder of slots.toml and base.toml, and parent of a slot's default config folder (docs/bmux-protocol.md, "Slot manifest" and "Config layers"). These four
   * roots depend on XDG_* and HOME only; BMUX_CONFIG_DIR, BMUX_RUNTIME_DIR and the like do not change them [measured].
   */
  readonly configRoot: string;
  readonly runtimeRoot: string;
  readonly stateRoot: string;
  readonly slotsRoot: string;
}

/** The value of a variable that is present and not empty. */
function set(env: Env, name: string): string | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : value;
}

/** A variable with an absolute path; anything else counts as unset (XDG Base Directory specification). */
function absolute(env: Env, name: string): string | undefined {
  const value = env[name];
  return value !== undefined && isAbsolute(value) ? value : undefined;
}

/** `base` with `parts` appended as bmux does it: no normalisation, an absolute part replaces what is before it. */
export function appended(base: string, ...parts: readonly string[]): string {
  let path = base;
  for (const part of parts) {
    if (isAbsolute(part) || path === '') path = part;
    else path = path.endsWith('/') ? path + part : `${path}/${part}`;
  }
  return path;
}

/** The home of this user in the password database, or Node's `homedir()` when there is no entry. */
function passwdHome(): string {
  try {
    return userInfo().homedir;
  } catch {
    return homedir();
  }
}

/** The caller's home: HOME when not empty, else the password database's. */
export function homeOf(env: Env): string {
  return set(env, 'HOME') ?? passwdHome();
}

/**
 * bmux's paths for `env`. Measured with the real program: a BMUX_*_DIR, XDG_RUNTIME_DIR, XDG_STATE_HOME or TMPDIR that is
 * empty or relative counts as set, and means a path below the caller's `cwd`. XDG_CONFIG_HOME and XDG_DATA_HOME count only when
 * absolute. Without `cwd` a relative path stays relative.
 */
export function bmuxPaths(env: Env, platform: NodeJS.Platform = process.platform, cwd = ''): BmuxPaths {
  const home = homeOf(env);
  const mac = platform === 'darwin';
  const support = join(home, 'Library', 'Application Support');
  const given = (name: string): string | undefined => {
    const value = env[name];
    if (value === undefined) return undefined;
    return isAbsolute(value) || cwd === '' ? value : value === '' ? cwd : appended(cwd, value);
  };
  const configRoot = mac
    ? join(support, 'bmux')
    : appended(absolute(env, 'XDG_CONFIG_HOME') ?? join(home, '.config'), 'bmux');
  const dataRoot = mac
    ? join(support, 'bmux')
    : appended(absolute(env, 'XDG_DATA_HOME') ?? join(home, '.local', 'share'), 'bmux');
  const stateRoot = appended(given('XDG_STATE_HOME') ?? join(home, '.local', 'state'), 'bmux');
  const temp = given('TMPDIR') ?? (mac ? tmpdir() : '/tmp');
  const runtimeRoot = appended(given('XDG_RUNTIME_DIR') ?? temp, 'bmux');

  const explicitConfig = given('BMUX_CONFIG_DIR');
  const configDirs: readonly [string, ...string[]] =
    explicitConfig !== undefined
      ? [explicitConfig]
      : mac
        ? [configRoot, join(home, '.config', 'bmux')]
        : [configRoot];
  const runtimeBase = given('BMUX_RUNTIME_DIR') ?? runtimeRoot;
  const rawName = (env['BMUX_RUNTIME_NAME'] ?? '').trim();
  const runtimeDir =
    rawName === '' || rawName === 'default' ? runtimeBase : appended(runtimeBase, 'runtimes', rawName);
  const dataDir = given('BMUX_DATA_DIR') ?? dataRoot;
  const explicitState = given('BMUX_STATE_DIR');
  const stateDir = explicitState ?? (mac ? join(support, 'bmux', 'State') : stateRoot);
  const logDir =
    given('BMUX_LOG_DIR') ??
    (explicitState === undefined && mac ? join(home, 'Library', 'Logs', 'bmux') : appended(stateDir, 'logs'));
  return {
    configDirs,
    runtimeDir,
    runtimeName: rawName === '' ? 'default' : rawName,
    serverSocket: appended(runtimeDir, 'server.sock'),
    serverMeta: appended(runtimeDir, 'server-meta.json'),
    authState: appended(runtimeDir, 'auth-state.json'),
    dataDir,
    principalId: appended(dataDir, 'runtime', 'principal-id'),
    stateDir,
    logDir,
    configRoot,
    runtimeRoot,
    stateRoot,
    slotsRoot: given('BMUX_SLOTS_ROOT') ?? appended(dataRoot, 'slots'),
  };
}

/** The absolute path of the SSH agent's socket for a caller in `cwd`; undefined when SSH_AUTH_SOCK is unset or empty. `~` has no meaning. */
export function agentSocketOf(env: Env, cwd: string): string | undefined {
  const written = set(env, 'SSH_AUTH_SOCK');
  return written === undefined ? undefined : appended(cwd, written);
}

/** Paths of bmuxd's own sockets and files. No BMUX_* variable changes them. */
export interface BmuxdPaths {
  /** bmuxd's runtime dir, mode 0700. */
  readonly dir: string;
  readonly controlSocket: string;
  /** In the folder of the control socket. */
  readonly streamsSocket: string;
  /** The instance lock: the process that answers here is the daemon of this runtime dir, wherever its control socket is. */
  readonly instanceSocket: string;
  readonly enginesDir: string;
  readonly settings: string;
  readonly stateDir: string;
}

/** Name of the folder with the engines' sockets, in the runtime dir. */
export const ENGINES = 'engines';

/** Path of the streams socket: in the folder of the control socket. */
export function streamsSocketBeside(controlSocket: string): string {
  return join(dirname(controlSocket), 'streams.sock');
}

/** Where an engine leaves the ends of its last streams when it exits: beside its socket. */
export function keptEndsBeside(engineSocket: string): string {
  return engineSocket.replace(/\.sock$/, '.ends');
}

/** Whether `path` is a folder of this user that nobody else can enter. */
export function isPrivateFolder(path: string): boolean {
  try {
    const info = lstatSync(path);
    return info.isDirectory() && info.uid === process.getuid?.() && (info.mode & 0o077) === 0;
  } catch {
    return false;
  }
}

/** The folder that the system gives to this user alone for sockets, if there is one: named by a variable, or found at its usual place. */
function systemRuntimeDir(
  env: Env,
  platform: NodeJS.Platform,
  isPrivate: (path: string) => boolean,
): string | undefined {
  const named = absolute(env, 'XDG_RUNTIME_DIR');
  if (named !== undefined) return named;
  const usual =
    platform === 'darwin'
      ? (absolute(env, 'TMPDIR') ?? tmpdir())
      : `/run/user/${String(process.getuid?.() ?? userInfo().uid)}`;
  return isPrivate(usual) ? usual : undefined;
}

/** Where bmuxd keeps what is to survive a restart of the machine. */
function stateDirOf(env: Env): string {
  return join(absolute(env, 'XDG_STATE_HOME') ?? join(homeOf(env), '.local', 'state'), 'bmuxd');
}

/** Code that V8 has compiled (daemon/bin/load-bundle.ts). No other path is needed to load a program. */
export function codeDirOf(env: Env): string {
  return join(stateDirOf(env), 'code');
}

/**
 * bmuxd's paths for `env`. A relative XDG_* or TMPDIR counts as unset, because the daemon and every client must get the same
 * socket path, whatever their working directories are. The runtime dir is never in a folder where other users can make files: an
 * unmodified bmux would use what they make there.
 */
export function bmuxdPaths(
  env: Env,
  platform: NodeJS.Platform = process.platform,
  isPrivate: (path: string) => boolean = isPrivateFolder,
): BmuxdPaths {
  const home = homeOf(env);
  const stateDir = stateDirOf(env);
  const system = systemRuntimeDir(env, platform, isPrivate);
  const dir =
    set(env, 'BMUXD_RUNTIME_DIR') ?? (system === undefined ? join(stateDir, 'run') : join(system, 'bmuxd'));
  const controlSocket = set(env, 'BMUXD_SOCKET') ?? join(dir, 'control.sock');
  return {
    dir,
    controlSocket,
    streamsSocket: streamsSocketBeside(controlSocket),
    instanceSocket: join(dir, 'instance.sock'),
    enginesDir: join(dir, ENGINES),
    settings:
      set(env, 'BMUXD_CONFIG') ??
      join(absolute(env, 'XDG_CONFIG_HOME') ?? join(home, '.config'), 'bmuxd', 'bmuxd.toml'),
    stateDir,
  };
}
