// The relays that the broker is compared with: each is a program that listens on this machine and connects to the far end.
import { existsSync } from 'node:fs';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { connect, type NetConnectOpts } from 'node:net';
import { once } from 'node:events';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { freePort, onPath, run, startChild, type Child } from '../../test/real/index.ts';
import { baseEnv, startProgram } from './processes.ts';
import { Skip } from '../measure.ts';

/** The address that a relay connects to. */
export type RelayTo =
  | { readonly path: string }
  | { readonly port: number; readonly caFile: string; readonly ca: string };

export interface Relay {
  readonly name: string;
  /** The address that its clients connect to. */
  readonly listen: NetConnectOpts;
  readonly pid?: number;
  stop(): Promise<void>;
}

export const RELAYS = ['socat', 'Node pipeline', 'stunnel', 'haproxy', 'ssh ControlMaster'] as const;
export type RelayName = (typeof RELAYS)[number];

interface RelayOptions {
  readonly folder: string;
  readonly path: string;
  readonly to: RelayTo;
}

type Starter = (
  options: RelayOptions,
) => Promise<{ readonly listen?: NetConnectOpts; readonly pid?: number; stop(): Promise<void> }>;

/** Starts a relay; rejects with a Skip when its program is missing or cannot do it. */
export async function startRelay(name: RelayName, to: RelayTo): Promise<Relay> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-peer-'));
  const path = join(folder, 'near.sock');
  try {
    const started = await STARTERS[name]({ folder, path, to });
    return {
      name,
      listen: started.listen ?? { path },
      ...(started.pid === undefined ? {} : { pid: started.pid }),
      stop: async () => {
        await started.stop();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

function program(...names: readonly string[]): string {
  for (const name of names) {
    // Daemons are in folders that are not in the PATH of an ordinary user.
    const path =
      onPath(name) ?? ['/usr/sbin', '/usr/local/sbin'].map((dir) => join(dir, name)).find(existsSync);
    if (path !== undefined) return path;
  }
  throw new Skip(`${names[0] ?? ''} is not installed`);
}

function accepts(to: NetConnectOpts): Promise<boolean> {
  const socket = connect(to);
  return once(socket, 'connect').then(
    () => {
      socket.destroy();
      return true;
    },
    () => false,
  );
}

const child = (command: string, args: readonly string[], listen: NetConnectOpts): Promise<Child> =>
  startChild({ command, args, env: baseEnv(), ready: () => accepts(listen) });

const STARTERS: Record<RelayName, Starter> = {
  // A Node stream reads 64 KiB at once; socat's own 8 KiB would halve the speed.
  socat: ({ path, to }) => {
    const far =
      'path' in to
        ? `UNIX-CONNECT:${to.path}`
        : `OPENSSL:127.0.0.1:${String(to.port)},cafile=${to.caFile},commonname=localhost,nodelay`;
    return child(program('socat'), ['-b', '65536', `UNIX-LISTEN:${path},fork`, far], { path });
  },
  'Node pipeline': ({ path, to }) =>
    startProgram('pipeline-relay', {
      ways: [{ listen: path, to: 'path' in to ? to : { port: to.port, ca: to.ca } }],
    }),
  stunnel: async ({ folder, to }) => {
    if ('path' in to) throw new Skip('stunnel is for TLS only');
    // stunnel listens on TCP only.
    const port = await freePort();
    const config = join(folder, 'stunnel.conf');
    const lines = [
      'foreground = yes', 'pid =', 'syslog = no', 'debug = err', '[far]', 'client = yes', 'TIMEOUTclose = 1',
      `accept = 127.0.0.1:${String(port)}`, `connect = 127.0.0.1:${String(to.port)}`, `CAfile = ${to.caFile}`,
      'verifyPeer = yes', 'socket = l:TCP_NODELAY=1', 'socket = r:TCP_NODELAY=1', '',
    ]; // oxfmt-ignore
    await writeFile(config, lines.join('\n'));
    const listen = { host: '127.0.0.1', port };
    const running = await child(program('stunnel4', 'stunnel'), [config], listen);
    return { listen, stop: () => running.stop() };
  },
  haproxy: async ({ folder, path, to }) => {
    const config = join(folder, 'haproxy.cfg');
    const far =
      'path' in to
        ? `unix@${to.path}`
        : `127.0.0.1:${String(to.port)} ssl verify required ca-file ${to.caFile} sni str(localhost)`;
    const lines = [
      'global', '  maxconn 4000', 'defaults', '  mode tcp', '  timeout connect 10s', '  timeout client 10m',
      '  timeout server 10m', 'listen far', `  bind unix@${path}`, `  server far ${far}`, '',
    ]; // oxfmt-ignore
    await writeFile(config, lines.join('\n'));
    return child(program('haproxy'), ['-db', '-q', '-f', config], { path });
  },
  'ssh ControlMaster': (options) => sshRelay(options),
};

/** A forwarded Unix socket over one warm ssh connection to an sshd of the bench. */
async function sshRelay({ folder, path, to }: RelayOptions): Promise<{ stop(): Promise<void> }> {
  if (!('path' in to)) throw new Skip('ssh forwards to the plain socket');
  const daemon = program('sshd');
  const ssh = program('ssh');
  const keygen = program('ssh-keygen');
  const privileges = '/run/sshd';
  if (userInfo().uid === 0 && !existsSync(privileges))
    throw new Skip(`sshd as root wants ${privileges}, which is not there`);
  const key = (name: string): string => join(folder, name);
  for (const name of ['host', 'user']) {
    const made = await run(keygen, ['-q', '-t', 'ed25519', '-N', '', '-f', key(name)], baseEnv());
    if (made.status !== 0) throw new Skip(`ssh-keygen: ${made.stderr.trim()}`);
  }
  await mkdir(key('home'), { mode: 0o700 });
  const port = await freePort();
  const config = [
    `Port ${String(port)}`, 'ListenAddress 127.0.0.1', `HostKey ${key('host')}`, `AuthorizedKeysFile ${key('user.pub')}`,
    'PidFile none', 'StrictModes no', 'UsePAM no', 'PasswordAuthentication no', 'PermitRootLogin prohibit-password', '',
  ]; // oxfmt-ignore
  await writeFile(key('sshd_config'), config.join('\n'));
  const server = await child(daemon, ['-D', '-e', '-f', key('sshd_config')], { host: '127.0.0.1', port });
  try {
    const options = [
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'LogLevel=ERROR',
      'BatchMode=yes',
    ];
    const args = [
      '-N', '-M', '-S', key('mux'), '-i', key('user'), '-F', 'none', ...options.flatMap((row) => ['-o', row]),
      '-p', String(port), '-L', `${path}:${to.path}`, `${userInfo().username}@127.0.0.1`,
    ]; // oxfmt-ignore
    const master = await startChild({
      command: ssh,
      args,
      env: { ...baseEnv(), HOME: key('home') },
      ready: () => accepts({ path }),
    });
    return {
      stop: async () => {
        await master.stop();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}
