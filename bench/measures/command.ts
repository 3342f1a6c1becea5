// A whole command: `bmux list-sessions` by the real CLI, and the same request through the broker by `bmux-stream`.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SHIM } from '../../test/daemon/bmuxd.ts';
import { learn, realBmux } from '../../test/real/index.ts';
import { realEnv } from '../../test/real/server.ts';
import { startFar, type Far } from '../rig/far.ts';
import { startDaemon } from './first-answer.ts';
import { Skip, type Bench, type Measure } from '../measure.ts';
import { runToEnd } from '../rig/programs.ts';
import { askByProcess } from '../rig/question.ts';

export const LIST = ['list-sessions'] as const;

/** Path of the real CLI; throws a Skip when it is missing. */
export function bmuxOrSkip(): string {
  const program = realBmux();
  if (program === undefined) throw new Skip('real bmux not found');
  return program;
}

/** The environment of a real CLI that connects to `far` without a broker, with its own folders. */
export async function ownClient(bench: Bench, far: Far): Promise<Readonly<Record<string, string>>> {
  if (far.way === 'local') return far.clientEnv;
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-client-'));
  bench.own('client', { stop: () => rm(folder, { recursive: true, force: true }) });
  const env = await realEnv(folder);
  await writeFile(join(env['BMUX_CONFIG_DIR'] ?? folder, 'bmux.toml'), far.config);
  return { ...env, BMUX_TARGET: far.target };
}

async function compare(bench: Bench, way: 'local' | 'TLS plain'): Promise<void> {
  const program = bmuxOrSkip();
  const far = bench.own('far end', await startFar({ way }));
  const daemon = bench.own('daemon', await startDaemon(far));
  const question = await learn({ env: far.clientEnv, socketPath: far.socketPath }, LIST);
  const env = await ownClient(bench, far);
  await bench.compare(`list-sessions, ${way}`, 'ms', bench.count(40, 5), [
    {
      name: 'bmux-stream with the same question',
      once: () => askByProcess(process.execPath, [SHIM, far.target, '--epoch', '4'], daemon.env, question),
    },
    { name: 'real CLI', once: () => runToEnd(program, LIST, env) },
  ]);
}

export const command: Measure = {
  name: 'command',
  about:
    'bmux list-sessions by the real CLI, and the same question through the broker by the shim: local, TLS',
  run: async (bench) => {
    // The real CLI fails on a TLS gateway that compresses, which is the default, so only an uncompressed one is compared.
    for (const way of ['local', 'TLS plain'] as const)
      await bench.part(`list-sessions, ${way}`, () => compare(bench, way));
  },
};
