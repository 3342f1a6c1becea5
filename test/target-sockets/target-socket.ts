// Functions for tests of target sockets: where a target socket is, recent events, and a client.
import { lstatSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { BrokerEvent } from '../../daemon/api/answers.ts';
import type { Bmuxd } from '../daemon/bmuxd.ts';
import { waitFor } from '../real/index.ts';

type Env = Readonly<Record<string, string>>;

/** The variables that `bmuxd env TARGET` sets. */
export async function targetSocketEnv(
  bmuxd: Bmuxd,
  target: string,
  env: Env = {},
): Promise<Record<string, string>> {
  const { status, stdout, stderr } = await bmuxd.bmuxd(['env', target, '--shell', 'json'], env);
  if (status !== 0) throw new Error(`bmuxd env ${target}: ${stderr}`);
  return { ...bmuxd.env, ...env, ...(JSON.parse(stdout) as Record<string, string>) };
}

/** Path of the target socket of a configured target in the daemon's own context. */
export function targetSocketPath(home: { readonly folder: string }, target: string): string {
  return join(home.folder, 'd', 'targets', target, 'server.sock');
}

export function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Waits for a target socket to be made or removed. When the engine is busy, the daemon tries again after 2 s. */
export function targetSocketIs(there: boolean, path: string, ms = 20_000): Promise<void> {
  return waitFor(`${path} to be ${there ? 'made' : 'removed'}`, () => isThere(path) === there, ms);
}

/** Runs `work`, which starts another daemon, and waits for its target sockets. The engine of the former daemon may still accept on the old ones. */
export async function madeAnew<T>(paths: readonly string[], work: () => Promise<T>): Promise<T> {
  const before = paths.map((path) => readlinkSync(dirname(path)));
  const done = await work();
  for (const [at, path] of paths.entries())
    await waitFor(`${path} to be made again`, () => readlinkSync(dirname(path)) !== before[at]);
  return done;
}

export function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

/** The recent events, which `GET /v1/events` sends first. */
export function eventsOf(bmuxd: { readonly socketPath: string }): Promise<BrokerEvent[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(bmuxd.socketPath, () => {
      socket.write('GET /v1/events HTTP/1.0\r\n\r\n');
    });
    let text = '';
    socket.setEncoding('utf8');
    socket.setTimeout(5000, () => socket.destroy(new Error(`no events: ${text}`)));
    socket.on('error', reject);
    socket.on('data', (chunk: string) => {
      text += chunk;
      // A comment follows the recent events.
      if (!/(^|\n):\r?\n/.test(text)) return;
      socket.destroy();
      const lines = text.split('\n').filter((line) => line.startsWith('data: '));
      resolve(lines.map((line) => JSON.parse(line.slice('data: '.length)) as BrokerEvent));
    });
  });
}
