// A pool of SSH logins as an engine has it, before a real sshd.
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Test } from 'tap';
import { Deadline } from '../../../daemon/base/async/deadline.ts';
import { Failure } from '../../../daemon/base/failure.ts';
import type { SshRoute } from '../../../daemon/engine-protocol/plan.ts';
import { SshPool, type SshPoolOptions } from '../../../daemon/transport/ssh/pool.ts';
import type { SshWait } from '../../../daemon/transport/ssh/host.ts';
import type { OpenedSsh } from '../../../daemon/transport/ssh/stream.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { isAlive, startSshd, type RealSshd } from '../../real/index.ts';
import type { SshdOptions } from '../../real/sshd.ts';

export interface SshRig {
  readonly sshd: RealSshd;
  readonly pool: SshPool;
  /** The folder that is the runtime dir of the engine. */
  readonly folder: string;
  readonly events: string[];
  /** Of the pools: it only says when unused masters are looked for. */
  readonly clock: FakeClock;
  /** Number of logins that sshd has accepted. */
  logins(): number;
  /** The pool of another engine in the same runtime dir, to which the first one is dead. */
  poolOf(generation: string): SshPool;
  /** The processes of masters and sessions. */
  processes(): ReturnType<typeof processesWith>;
  route(fields?: Partial<SshRoute>): SshRoute;
  open(fields?: Partial<SshRoute>, budgetMs?: number): Promise<OpenedSsh>;
  /** Code, text, remedy and causes of the failure to open, in one text. */
  refusal(fields?: Partial<SshRoute>, budgetMs?: number): Promise<string>;
}

export function waitOf(budgetMs = 20_000): SshWait {
  return { label: 'box', deadline: new Deadline(budgetMs), signal: new AbortController().signal };
}

/** Makes a program on the host. Returns its path. */
export async function writeProgram(sshd: RealSshd, name: string, script: string): Promise<string> {
  const path = join(sshd.folder, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

/** Answers as bmux there does; its bridge sends back what it gets. */
export const FAKE_BMUX = [
  'case "$*" in',
  '--version) echo bmux 0.0.1-alpha.4;;',
  '"server status") echo server version: 0.0.1-alpha.4;;',
  '*) exec cat;;',
  'esac',
].join('\n');

export async function sshRig(
  t: Test,
  { watch, ...options }: SshdOptions & Pick<SshPoolOptions, 'watch'> = {},
): Promise<SshRig> {
  const sshd = await startSshd(options);
  t.teardown(() => sshd.stop());
  await writeProgram(sshd, 'bmux', FAKE_BMUX);
  const folder = await mkdtemp(join(tmpdir(), 'ssh-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const events: string[] = [];
  const clock = new FakeClock();
  const poolOf = (generation: string): SshPool =>
    new SshPool({
      env: { PATH: sshd.path },
      engineSocket: join(folder, 'engines', `${generation}.sock`),
      generation,
      ...(watch && { watch }),
      isAlive: () => Promise.resolve(false),
      isLast: () => Promise.resolve(true),
      event: ({ type, class: why, detail }) =>
        events.push(why === undefined ? type : `${type}: ${why}: ${String(detail)}`),
      warmth: () => 'auto',
      clock,
    });
  const pool = poolOf('one');
  t.teardown(() => pool.close());
  const route = (fields: Partial<SshRoute> = {}): SshRoute => ({
    transport: 'ssh',
    host: sshd.host,
    port: sshd.port,
    identityFile: sshd.identity,
    knownHostsFile: sshd.knownHosts,
    strictHostKeyChecking: true,
    remoteBmuxPath: join(sshd.folder, 'bmux'),
    startsServer: true,
    ...fields,
  });
  const open = (fields: Partial<SshRoute> = {}, budgetMs?: number): Promise<OpenedSsh> =>
    pool.stream(route(fields), waitOf(budgetMs));
  return {
    sshd,
    pool,
    folder,
    events,
    clock,
    logins: () => sshd.log().split('Accepted publickey').length - 1,
    poolOf,
    processes: () => processesWith(join(folder, 'ssh')),
    route,
    open,
    refusal: async (fields, budgetMs) => {
      try {
        (await open(fields, budgetMs)).stream.destroy();
        return 'opened';
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        const { code, detail, causes, remedy } = error.data;
        return [code, detail, ...causes, remedy].join('\n');
      }
    },
  };
}

/** Bytes that look like the begin of a frame, as the stream expects them. */
export const FRAME = Buffer.from([4, 0, 0, 0, 1, 2, 3, 4]);

/** Resolves when the bridge has sent back what it got. */
export async function answers(stream: Duplex): Promise<void> {
  const first = once(stream, 'data');
  stream.write(FRAME);
  const [chunk] = (await first) as [Buffer];
  if (!chunk.equals(FRAME)) throw new Error(`not an echo: ${chunk.toString('hex')}`);
}

/** Processes with `part` on their command line. */
export async function processesWith(
  part: string,
): Promise<{ readonly pid: number; readonly line: string }[]> {
  const found: { pid: number; line: string }[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(part)) found.push({ pid: Number(pid), line: line.replaceAll('\0', ' ') });
  }
  return found;
}

/** The error of a stream, when it comes. */
export function errorOf(stream: Duplex): Promise<Error> {
  return new Promise((resolve) => {
    stream.once('error', resolve);
    stream.resume();
  });
}

/** Pids of the masters of the engine. */
export async function mastersOf(rig: SshRig): Promise<number[]> {
  const all = await rig.processes();
  return all.filter(({ line }) => line.includes('ControlMaster=yes')).map(({ pid }) => pid);
}

/** Stops processes; they are killed at the end of the test. */
export function stop(t: Test, pids: readonly number[]): void {
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
}

/** Lets the server be heard over `stream` each second, until the end of the test. */
export function keepTalking(t: Test, stream: Duplex): void {
  stream.resume();
  const talking = setInterval(() => stream.write(FRAME), 1000);
  t.teardown(() => {
    clearInterval(talking);
  });
}
