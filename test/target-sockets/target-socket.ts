// What the tests of target sockets ask of a daemon: where a target socket is, what happened, and a client at it.
import { lstatSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { BrokerEvent } from '../../daemon/api/answers.ts';
import type { Bmuxd } from '../daemon/bmuxd.ts';
import { waitFor } from '../real/index.ts';

type Env = Readonly<Record<string, string>>;

/** The environment of a program that `bmuxd env TARGET` was evaluated for. */
export async function targetSocketEnv(
  bmuxd: Bmuxd,
  target: string,
  env: Env = {},
): Promise<Record<string, string>> {
  const { status, stdout, stderr } = await bmuxd.bmuxd(['env', target, '--shell', 'json'], env);
  if (status !== 0) throw new Error(`bmuxd env ${target}: ${stderr}`);
  return { ...bmuxd.env, ...env, ...(JSON.parse(stdout) as Record<string, string>) };
}

/** Where the socket of a configured target of the daemon's own context is. */
export function targetSocketPath(home: { readonly folder: string }, target: string): string {
  return join(home.folder, 'd', 'targets', target, 'server.sock');
}

export function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Waits for a target socket to be made or removed. An engine that is busy just then is told again 2 s later. */
export function targetSocketIs(there: boolean, path: string, ms = 20_000): Promise<void> {
  return waitFor(`${path} to be ${there ? 'made' : 'removed'}`, () => isThere(path) === there, ms);
}

/** Runs `work`, after which another daemon makes the target sockets again, and waits for them: the engine of the former one may still accept on the old ones. */
export async function madeAnew<T>(paths: readonly string[], work: () => Promise<T>): Promise<T> {
  const before = paths.map((path) => readlinkSync(dirname(path)));
  const done = await work();
  for (const [at, path] of paths.entries())
    await waitFor(`${path} to be made again`, () => readlinkSync(dirname(path)) !== before[at], 20_000);
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

/** What `GET /v1/events` tells at first: what happened lately. */
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
      // A comment follows what is kept.
      if (!/(^|\n):\r?\n/.test(text)) return;
      socket.destroy();
      const lines = text.split('\n').filter((line) => line.startsWith('data: '));
      resolve(lines.map((line) => JSON.parse(line.slice('data: '.length)) as BrokerEvent));
    });
  });
}
