// Times of whole programs: from the spawn to the first answer on stdout, or to the exit.
import { spawn, type ChildProcess } from 'node:child_process';
import { Duplex } from 'node:stream';
import type { Bmuxd } from '../../test/daemon/bmuxd.ts';
import { TestClient } from '../../test/embedded/client.ts';
import { encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { timed } from '../measure.ts';

/** ms that a program of a measure may take. */
const LIMIT_MS = 30_000;

/** stdin and stdout of a program as one stream. */
function streamOf({ stdin, stdout }: ChildProcess): Duplex {
  if (stdin === null || stdout === null) throw new Error('the program has no pipes');
  return Duplex.from({ readable: stdout, writable: stdin });
}

/** Waits for the exit for a limited time, then kills the program. */
function exit(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    child.once('error', reject);
    child.once('exit', (status) => {
      clearTimeout(timer);
      resolve(status);
    });
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
  });
}

/** ms of `bmux-stream TARGET` from the spawn to the answer on stdout, with a Ping on stdin at once. */
export async function shimPing(daemon: Bmuxd, target: string): Promise<number> {
  let child: ChildProcess | undefined;
  const ms = await timed(async () => {
    child = daemon.spawnShim([target, '--epoch', '4']);
    const client = new TestClient(streamOf(child), { limitMs: LIMIT_MS });
    await client.ping();
  });
  child?.stdin?.end();
  if (child !== undefined) await exit(child);
  return ms;
}

/** ms from the spawn to the first byte of the answer to a Ping on stdin. */
async function firstByte(start: () => ChildProcess): Promise<number> {
  const since = performance.now();
  const child = start();
  child.stdin?.write(encodeRequestFrame(4, 2n, { type: 'ping' }));
  const ms = await new Promise<number>((resolve, reject) => {
    child.stdout?.once('data', () => {
      resolve(performance.now() - since);
    });
    child.once('exit', (status) => {
      reject(new Error(`the program left with ${String(status)} before an answer`));
    });
  });
  child.stdin?.end();
  child.stdout?.resume();
  await exit(child);
  return ms;
}

/** `bmux-stream TARGET`. */
export function shimFirstByte(daemon: Bmuxd, target: string): Promise<number> {
  return firstByte(() => daemon.spawnShim([target, '--epoch', '4']));
}

/** A minimal client on `node:net`: it handles no refusal, no timeout and no half-close. */
const LEAST = `
const socket = require('node:net').connect(process.env.SOCKET);
socket.write(process.env.REQUEST);
socket.once('data', (answer) => {
  process.stdin.pipe(socket);
  const rest = answer.subarray(answer.indexOf('\\r\\n\\r\\n') + 4);
  if (rest.length > 0) process.stdout.write(rest);
  socket.pipe(process.stdout);
});`;

/** `request`: the head of the upgrade. */
export function leastFirstByte(daemon: Bmuxd, request: string): Promise<number> {
  const env = { ...daemon.env, SOCKET: daemon.socketPath, REQUEST: request };
  return firstByte(() => spawn(process.execPath, ['-e', LEAST], { env, stdio: ['pipe', 'pipe', 'ignore'] }));
}

export type SocatTo = { readonly path: string } | { readonly config: string };

/** The address of a target for socat. */
function socatAddress(to: SocatTo): string {
  if ('path' in to) return `UNIX-CONNECT:${to.path}`;
  const port = /port = (\d+)/.exec(to.config)?.[1] ?? '';
  const caFile = /ca_file = "([^"]+)"/.exec(to.config)?.[1] ?? '';
  return `OPENSSL:127.0.0.1:${port},cafile=${caFile},commonname=localhost,nodelay`;
}

/** ms of `socat - ADDRESS` from the spawn to the answer of a Ping, a Hello and its answer included. */
export async function socatPing(socat: string, to: SocatTo): Promise<number> {
  let child: ChildProcess | undefined;
  const ms = await timed(async () => {
    child = spawn(socat, ['-', socatAddress(to)], { stdio: ['pipe', 'pipe', 'ignore'] });
    const client = new TestClient(streamOf(child), { limitMs: LIMIT_MS });
    await client.hello();
    await client.ping();
  });
  child?.stdin?.end();
  if (child !== undefined) await exit(child);
  return ms;
}

/** ms of a program from spawn to exit. Rejects with its output when it fails. */
export async function runToEnd(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<number> {
  const start = performance.now();
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const keep = (chunk: Buffer): void => {
    text = (text + chunk.toString('utf8')).slice(-4000);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const status = await exit(child);
  const ms = performance.now() - start;
  if (status !== 0) throw new Error(`${args.join(' ')} left with ${String(status)}: ${text.trim()}`);
  return ms;
}
