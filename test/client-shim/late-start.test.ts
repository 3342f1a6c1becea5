// Tests clients of sockets that a service manager holds, while the daemon takes its time to start. This test is the manager.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openStream } from '../../client-shim/index.ts';
import type { Waiting } from '../../daemon/api/answers.ts';
import { isHealth } from '../../daemon/api/answer-shapes.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { askControl } from '../../daemon/cli/ask-control.ts';
import { BMUXD } from '../daemon/bmuxd.ts';
import { underManager, type UnderManager } from '../daemon/under-manager.ts';
import { holdTime } from '../base/async/held-timers.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';

/** Sockets that take connections which nobody accepts: a first daemon listened on them, and has stopped. */
async function hold(t: Test): Promise<UnderManager> {
  const { sandbox, start } = await underManager(t);
  const first = start();
  const question = { method: 'GET', path: '/v1/health', timeoutMs: 5000 } as const;
  await waitFor('the first daemon', () =>
    askControl(sandbox.env, question, isHealth).then(
      ({ state }) => state === 'ready',
      () => false,
    ),
  );
  t.equal((await run(process.execPath, [BMUXD, 'stop'], sandbox.env)).status, 0);
  await waitFor('its end', () => first.exitCode !== null || first.signalCode !== null);
  return { sandbox, start };
}

t.test('commands and streams wait for it, and are told so', async (t) => {
  const { sandbox, start } = await hold(t);
  const server = await EmbeddedServer.start({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const told: Waiting[] = [];
  const opened = openStream({ env: sandbox.env, onWaiting: (waiting) => told.push(waiting) });
  const asked = Promise.all(
    ['targets', 'streams', 'events --no-follow'].map((command) =>
      run(process.execPath, [BMUXD, ...command.split(' ')], sandbox.env),
    ),
  );
  await waitFor('news for who waits', () => told.length > 0);
  const status = await run(process.execPath, [BMUXD, 'status', '--json'], sandbox.env);
  t.match(JSON.parse(status.stdout), { state: 'starting', code: 'daemon_start_late' });
  t.equal(told[0]?.step, 'start of bmuxd');
  start();
  const { stream } = await opened;
  await new TestClient(stream).ping();
  stream.destroy();
  for (const { status, stderr } of await asked) t.equal(status, 0, stderr);
});

t.test('one that never comes is told as such, not as a process that hangs', async (t) => {
  const { sandbox } = await hold(t);
  const timers = holdTime(t);
  const codes: string[] = [];
  const count = (error: unknown): void => {
    codes.push(error instanceof Error && 'code' in error ? String(error.code) : 'none');
  };
  const question = { method: 'GET', path: '/v1/health', timeoutMs: LIMITS.engineAnswerMs } as const;
  askControl(sandbox.env, question, isHealth).catch(count);
  for (let passed = 0; codes.length === 0 && passed <= 2 * LIMITS.startMs; passed += LIMITS.silenceMs)
    await timers.pass(LIMITS.silenceMs);
  await timers.until('the failure', () => codes.length > 0);
  t.strictSame(codes, ['daemon_start_late']);
});
