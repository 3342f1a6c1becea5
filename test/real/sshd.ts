// A real sshd on loopback with its own configuration, keys and port, and an `ssh` that knows nothing of the user's own configuration.
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { accepts, freePort, startChild } from './child.ts';
import { onPath } from './find.ts';
import { run } from './server.ts';

export interface SshdOptions {
  /** Variables of each session there. */
  readonly env?: Readonly<Record<string, string>>;
  /** Lines of sshd_config that count before those of this fixture. */
  readonly config?: string;
  /** Use this port; another sshd has had it. */
  readonly port?: number;
  /** Who runs it, instead of this process's user. */
  readonly owner?: Account;
  /** Where it runs, instead of 127.0.0.1. */
  readonly at?: { readonly host: string; readonly command: readonly string[] };
}

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** An account with a shell that is not root's, as which root can run a program; undefined without one. */
export function ordinaryAccount(): Account | undefined {
  if (process.getuid?.() !== 0 || onPath('setpriv') === undefined) return undefined;
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name = '', , uid = '', gid = '', , home = '', shell = ''] = line.split(':');
    if (Number(uid) >= 1000 && /\/(?:ba|da|z)?sh$/.test(shell) && existsSync(home))
      return { name, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/** Something that a person types at a login. */
export interface Typed {
  /** What runs an sshd that asks for it. */
  readonly command: readonly string[];
  readonly answer: string;
}

/** What runs a program that reads `text` in place of the file `path`, as no other program does; undefined where that cannot be. */
async function inPlaceOf(path: string, text: string, folder: string): Promise<readonly string[] | undefined> {
  const env = { PATH: process.env['PATH'] ?? '' };
  if (process.getuid?.() !== 0 || !existsSync(path)) return undefined;
  if (!['unshare', 'mount'].every((name) => onPath(name) !== undefined)) return undefined;
  const file = join(folder, basename(path));
  await writeFile(file, text, { mode: 0o600 });
  const command = ['unshare', '-m', 'sh', '-c', `mount --bind '${file}' '${path}' && exec "$@"`, 'sh'];
  return (await run('unshare', [...command.slice(1), 'true'], env)).status === 0 ? command : undefined;
}

/** A password of root that counts for one command alone; undefined where that cannot be. */
export async function rootsPassword(folder: string): Promise<Typed | undefined> {
  if (process.getuid?.() !== 0 || onPath('openssl') === undefined) return undefined;
  const answer = 'open barley';
  const { stdout } = await run('openssl', ['passwd', '-6', answer], { PATH: process.env['PATH'] ?? '' });
  const lines = (await readFile('/etc/shadow', 'utf8'))
    .split('\n')
    .filter((line) => !line.startsWith('root:'));
  const shadow = [`root:${stdout.trim()}:19000:0:99999:7:::`, ...lines].join('\n');
  const command = await inPlaceOf('/etc/shadow', shadow, folder);
  return command && { command, answer };
}

/** A code for which PAM asks; undefined where that cannot be. */
export async function codeOfPam(folder: string): Promise<Typed | undefined> {
  const answer = '271828';
  const check = join(folder, 'check');
  await writeFile(check, `#!/bin/sh\n[ "$(tr -d '\\000')" = ${answer} ]\n`, { mode: 0o755 });
  const service = [
    `auth required pam_exec.so expose_authtok quiet ${check}`,
    ...['auth', 'account', 'session'].map((kind) => `${kind} required pam_permit.so`),
    '',
  ];
  const command = await inPlaceOf('/etc/pam.d/sshd', service.join('\n'), folder);
  return command && { command, answer };
}

export interface RealSshd {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
  readonly folder: string;
  /** A key that the account accepts. */
  readonly identity: string;
  /** A known_hosts file with the host key. */
  readonly knownHosts: string;
  /** The PATH on which `ssh` reads `sshConfig` and no other configuration. */
  readonly path: string;
  /** The user's part of ssh_config, empty at first. */
  readonly sshConfig: string;
  /** Makes `sshConfig` lead `name` here, with the key; `more`: further lines. */
  alias(name: string, more?: readonly string[]): Promise<void>;
  /** What sshd has logged. */
  log(): string;
  /** Makes a key and lets the account accept it. `options`: of its line in authorized_keys. */
  addKey(name: string, how?: { passphrase?: string; options?: string; accepted?: boolean }): Promise<string>;
  stop(): Promise<void>;
}

/** Where sshd is installed it is often on the PATH of root only. */
function sshdPath(): string | undefined {
  return onPath('sshd') ?? ['/usr/sbin/sshd', '/usr/local/sbin/sshd'].find((path) => existsSync(path));
}

/** Why there is no sshd for a test; false when there is one. */
export function sshdMissing(): string | false {
  if (sshdPath() === undefined) return 'sshd not found';
  return ['ssh', 'ssh-keygen'].every((name) => onPath(name) !== undefined) ? false : 'ssh not found';
}

async function makeKey(file: string, passphrase = ''): Promise<void> {
  const args = ['-q', '-t', 'ed25519', '-N', passphrase, '-C', 'test', '-f', file];
  const made = await run('ssh-keygen', args, { PATH: process.env['PATH'] ?? '' });
  if (made.status !== 0) throw new Error(made.stderr);
}

export async function startSshd({
  env = {},
  config = '',
  port: wanted,
  owner,
  at: { host, command: before } = { host: '127.0.0.1', command: [] },
}: SshdOptions = {}): Promise<RealSshd> {
  const folder = await mkdtemp(join(tmpdir(), 'sshd-'));
  const port = wanted ?? (await freePort());
  const inFolder = (name: string): string => join(folder, name);
  const [identity, knownHosts, accepted] = [inFolder('id'), inFolder('known_hosts'), inFolder('accepted')];
  // As root, sshd wants this folder; a service manager makes it otherwise.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  await makeKey(inFolder('host'));
  await makeKey(identity);
  await writeFile(accepted, await readFile(`${identity}.pub`, 'utf8'));
  const hostKey = (await readFile(inFolder('host.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
  await writeFile(knownHosts, `[${host}]:${String(port)} ${hostKey}\n`);
  // Rc files of whoever runs the tests may print, and take longer than everything else.
  await mkdir(inFolder('home'));
  const variables = Object.entries({ HOME: inFolder('home'), ...env }).map(
    ([name, value]) => `${name}=${value}`,
  );
  await writeFile(
    inFolder('sshd_config'),
    [
      `Port ${String(port)}`,
      `ListenAddress ${host}`,
      `HostKey ${inFolder('host')}`,
      'PidFile none',
      `AuthorizedKeysFile ${accepted}`,
      'StrictModes no',
      config,
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      `SetEnv ${variables.join(' ')}`,
      // The usual one computes for a long time on a busy machine.
      'KexAlgorithms curve25519-sha256',
      '',
    ].join('\n'),
  );
  const [bin, sshConfig] = [inFolder('bin'), inFolder('ssh_config')];
  await mkdir(bin);
  await writeFile(sshConfig, '');
  await writeFile(join(bin, 'ssh'), `#!/bin/sh\nexec '${onPath('ssh') ?? 'ssh'}' -F '${sshConfig}' "$@"\n`);
  await chmod(join(bin, 'ssh'), 0o755);
  const sshd = [sshdPath() ?? 'sshd', '-D', '-e', '-f', inFolder('sshd_config')];
  if (owner !== undefined) {
    for (const name of ['', 'host', 'sshd_config', 'accepted', 'home'])
      await chown(inFolder(name), owner.uid, owner.gid);
    const ids = [`--reuid=${String(owner.uid)}`, `--regid=${String(owner.gid)}`, '--clear-groups'];
    sshd.unshift('setpriv', ...ids);
  }
  const [command = '', ...args] = [...before, ...sshd];
  const child = await startChild({
    command,
    args,
    env: { PATH: process.env['PATH'] ?? '' },
    ready: () => accepts({ host, port }),
  });
  return {
    pid: child.pid,
    host,
    port,
    folder,
    identity,
    knownHosts,
    sshConfig,
    path: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
    alias: async (name, more = []) => {
      const where = [`HostName ${host}`, `Port ${String(port)}`, `IdentityFile ${identity}`];
      const lines = [`Host ${name}`, ...where, `UserKnownHostsFile ${knownHosts}`, ...more, ''];
      await writeFile(sshConfig, lines.join('\n'));
    },
    log: () => child.output(),
    addKey: async (name, { passphrase = '', options = '', accepted: isAccepted = true } = {}) => {
      const file = inFolder(name);
      await makeKey(file, passphrase);
      const line = await readFile(`${file}.pub`, 'utf8');
      if (isAccepted)
        await writeFile(accepted, `${options}${options === '' ? '' : ' '}${line}`, { flag: 'a' });
      return file;
    },
    stop: async () => {
      await child.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
