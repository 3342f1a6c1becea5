// Tests daemons that take over from each other at the same time: none of them drains the engine of the one that has the runtime dir at the end.
import { spawn } from 'node:child_process';
import { unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ownIdentity, isRunning } from '../../daemon/base/process/identity.ts';
import { engineRequest } from '../../daemon/sockets/http-request.ts';
import { isEngineStatus } from '../../daemon/api/answer-shapes.ts';
import type { Health } from '../../daemon/api/answers.ts';
import { BMUXD } from '../daemon/bmuxd.ts';
import { startWorld, Talk, type World } from '../engine/world.ts';
import { waitFor } from '../real/index.ts';

t.setTimeout(300_000);

/** The states of the engines that are not those of before, once there is one; a stream can be opened then. */
async function statesOfNew({ bmuxd }: World, before: readonly string[]): Promise<readonly string[]> {
  let states: readonly string[] = [];
  await waitFor('another engine', async () => {
    const { engines } = await bmuxd.status();
    states = engines.filter(({ generation }) => !before.includes(generation)).map(({ state }) => state);
    return states.length > 0;
  });
  (await bmuxd.open({ target: 'tls' })).stream.destroy();
  return states;
}

t.test('a daemon that was stopped while another one took over', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const [former] = (await bmuxd.status()).engines;
  bmuxd.signal('SIGSTOP');
  t.match(await bmuxd.bmuxd(['restart']), { status: 0 });
  const next = (await bmuxd.status()).engines.find(({ state }) => state === 'serving');
  // When it goes on, it starts an engine again before it leaves.
  process.kill(former?.pid ?? 0, 'SIGKILL');
  bmuxd.signal('SIGCONT');
  await waitFor('it to leave', () => !isRunning({ pid: bmuxd.pid }));
  const { engines } = await bmuxd.status();
  t.equal(engines.find(({ generation }) => generation === next?.generation)?.state, 'serving');
});

t.test('a daemon that gets ready to take over is told to drain', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const dir = dirname(bmuxd.socketPath);
  const before = (await bmuxd.status()).engines.map(({ generation }) => generation);
  const lock = join(dir, 'start.lock');
  await writeFile(lock, JSON.stringify(ownIdentity()));
  const next = spawn(process.execPath, [BMUXD, 'run', '--replace'], { env: bmuxd.env, stdio: 'ignore' });
  t.teardown(() => next.kill('SIGKILL'));
  let socket = '';
  await waitFor('its engine', async () => {
    const name = (await bmuxd.engines()).find((found) => !before.includes(found.replace('.sock', '')));
    socket = join(dir, 'engines', name ?? 'none.sock');
    return name !== undefined;
  });
  // As the running daemon does that has just started.
  t.equal((await engineRequest(socket, 'POST', '/v1/drain?max=none')).status, 202);
  const { body } = await engineRequest(socket, 'GET', '/v1/engine');
  t.equal(isEngineStatus(body) && body.engine.state, 'serving');
  await unlink(lock);
  await waitFor('the next one to have the runtime dir', async () => {
    const health = await bmuxd.http('GET', '/v1/health').catch(() => undefined);
    return (health?.body as Health | undefined)?.pid === next.pid;
  });
  await waitFor('the former one to leave', () => !isRunning({ pid: bmuxd.pid }));
  t.same(await statesOfNew(world, before), ['serving']);
});

t.test('an engine that starts in the same millisecond as that of another daemon', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const [former] = (await bmuxd.status()).engines;
  const talk = await Talk.open(bmuxd, 'tls');
  const clock = join(bmuxd.folder, 'clock.cjs');
  const atMs = parseInt(former?.generation.slice(0, 8) ?? '', 36);
  await writeFile(clock, `Date.now = () => ${String(atMs)};`);
  const env = { ...bmuxd.env, NODE_OPTIONS: `--require=${clock}` };
  const next = spawn(process.execPath, [BMUXD, 'run', '--replace'], { env, stdio: 'ignore' });
  t.teardown(() => next.kill('SIGKILL'));
  await waitFor('the former one to leave', () => !isRunning({ pid: bmuxd.pid }));
  const { engines } = await bmuxd.status();
  const isFormer = engines.map(({ pid }) => pid === former?.pid);
  t.same([isFormer.length, isFormer.filter(Boolean).length], [2, 1], 'each has an id of its own');
  await talk.end();
  t.match((await bmuxd.http('GET', `/v1/streams/${talk.id}/end`)).body, { known: true, lost: undefined });
});
