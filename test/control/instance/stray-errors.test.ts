// Tests that control goes on after errors that nothing catches: they are counted, shown in the status, and end it only when they are many.
import { EventEmitter } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import type { Status } from '../../../daemon/api/answers.ts';
import type { Failure } from '../../../daemon/base/failure.ts';
import { asFailure } from '../../../daemon/errors/fail.ts';
import { StrayErrors } from '../../../daemon/control/instance/stray-errors.ts';
import { settle } from '../../base/async/fake-clock.ts';
import { BMUXD, makeSandbox, type Sandbox } from '../../daemon/bmuxd.ts';
import { startChild, waitFor, type Child } from '../../real/child.ts';
import { run } from '../../real/server.ts';
import { controlPlane } from '../../target-sockets/control-plane.ts';

function rig(answers = true) {
  const source = new EventEmitter();
  const lines: string[] = [];
  const gaveUp: Failure[] = [];
  let ms = 0;
  const errors = new StrayErrors({
    source,
    clock: { now: () => ms, after: () => () => {}, every: () => () => {} },
    log: pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) }),
    instance: { isAnswering: () => Promise.resolve(answers) },
  });
  errors.broken.catch((why: unknown) => gaveUp.push(asFailure(why)));
  return {
    errors,
    lines,
    gaveUp,
    reject: () => source.emit('unhandledRejection', new Error('of a package')),
    crash: () => source.emit('uncaughtException', new Error('in a callback')),
    pass: (more: number) => {
      ms += more;
    },
  };
}

t.test('rejections are counted, logged with a bound, shown for a while, and never end control', (t) => {
  const { errors, lines, gaveUp, reject, pass } = rig();
  t.equal(errors.problem, undefined);
  for (let n = 0; n < 500; n += 1) reject();
  t.match(errors.problem?.data, {
    code: 'control_error',
    detail: /: 500 so far, the last one: of a package/,
  });
  t.ok(lines.length <= 10, 'a flood of errors does not flood the log');
  t.same(gaveUp, []);
  pass(11 * 60_000);
  t.equal(errors.problem, undefined);
  reject();
  t.match(errors.problem?.data, { detail: /: 501 so far/ });
  t.end();
});

t.test('exceptions end control when they are many within a minute', async (t) => {
  const { gaveUp, crash, pass } = rig();
  for (let n = 0; n < 100; n += 1) {
    crash();
    pass(5000);
  }
  await settle();
  t.same(gaveUp, [], 'one each 5 s');
  for (let n = 0; n < 40; n += 1) crash();
  await settle();
  t.match(gaveUp, [
    { data: { code: 'control_broken', exitStatus: 1, detail: /the last one: in a callback/ } },
  ]);
});

t.test('an exception ends control when it does not answer any more', async () => {
  const { gaveUp, crash } = rig(false);
  crash();
  await waitFor('the end', () => gaveUp.length === 1);
});

/** Starts the daemon through a shell, which sets limits first. */
const startAs = (
  sandbox: Sandbox,
  before: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Child> =>
  startChild({
    command: '/bin/sh',
    args: ['-c', `${before} exec "$0" "$@"`, process.execPath, BMUXD, 'run'],
    env: { ...sandbox.env, ...env },
    ready: (output) => output.includes('"streams are accepted"'),
  });

const statusOf = async ({ env }: Sandbox): Promise<Status> =>
  JSON.parse((await run(process.execPath, [BMUXD, 'status', '--json'], env)).stdout) as Status;

const linux = process.platform !== 'linux' && 'address space is limited on Linux only';
t.test('a lookup under a limit of address space fails, and control goes on', { skip: linux }, async (t) => {
  const { url } = await controlPlane(t);
  const sandbox = await makeSandbox({ config: `[connections]\ncontrol_plane_url = "${url}"\n` });
  t.teardown(() => sandbox.remove());
  await writeFile(join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'auth-state.json'), '{"access_token":"t"}');
  // fetch compiles WebAssembly, for which V8 reserves 10 GiB of address space.
  const child = await startAs(sandbox, 'ulimit -v 4194304;');
  t.teardown(() => child.stop());
  const env = await run(process.execPath, [BMUXD, 'env', 'bmux://a'], sandbox.env);
  t.not(env.status, 0);
  if (!child.output().includes('"control_error"'))
    t.comment('this version of Node handles the rejection itself');
  else
    t.match(await statusOf(sandbox), {
      state: 'degraded',
      problems: [{ where: 'control', failure: { code: 'control_error', detail: /: [1-9]\d* so far/ } }],
    });
  t.notOk(child.exited(), child.output());
});

t.test('a planted exception is survived; many of them end control with the reason', async (t) => {
  const sandbox = await makeSandbox({ settings: '[engine]\ndrain_grace = 0.1\n' });
  t.teardown(() => sandbox.remove());
  const faulty = join(sandbox.folder, 'faulty.mjs');
  await writeFile(faulty, `process.on('SIGUSR2', () => setTimeout(() => { throw new Error('planted'); }));`);
  const child = await startAs(sandbox, '', { NODE_OPTIONS: `--import=${faulty}` });
  t.teardown(() => child.stop());
  process.kill(child.pid, 'SIGUSR2');
  await waitFor('the error in the status', async () => (await statusOf(sandbox)).state === 'degraded');
  t.match((await statusOf(sandbox)).problems, [{ where: 'control', failure: { code: 'control_error' } }]);
  t.notOk(child.exited());
  await waitFor('the end', () => {
    if (!child.exited()) process.kill(child.pid, 'SIGUSR2');
    return child.exited();
  });
  t.match(child.output(), /ends after \d+ unexpected errors, the last one: planted/);
  const engines = join(sandbox.folder, 'd', 'engines');
  const left = async (): Promise<boolean> => (await readdir(engines)).every((name) => name.endsWith('.ends'));
  await waitFor('the engine to leave', left);
  t.equal((await readdir(engines)).length, 1, 'what it knew of its streams');
});
