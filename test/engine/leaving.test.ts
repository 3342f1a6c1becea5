// Tests how engines end: after control and their streams have ended, on SIGTERM, and with requests under way.
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import t from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import { defaultSettings } from '../../daemon/config/settings/table.ts';
import { EngineSockets } from '../../daemon/engine/accept/engine-sockets.ts';
import { FairBound } from '../../daemon/engine/accept/fair-bound.ts';
import { Lifecycle, type LifecycleOptions } from '../../daemon/engine/lifecycle.ts';
import { Tally } from '../../daemon/engine/metrics/tally.ts';
import { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';
import { OwnClients } from '../../daemon/sockets/own-clients.ts';
import { holdTime, holdTimers } from '../base/async/held-timers.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { isAlive, waitFor } from '../real/index.ts';
import { coldUpstreams } from '../hello/cold.ts';
import { planFor } from '../hello/opener.ts';
import { rawModeFrame } from '../streams/requests.ts';
import { startWorld, Talk } from './world.ts';

t.test(
  'control gets SIGTERM: its engine finishes its streams, exits, and logs that to its file',
  async (t) => {
    const world = await startWorld(t, { settings: 'engine.drain_grace = 0.2\nengine.orphan_grace = 0.2\n' });
    const { bmuxd } = world;
    const engine = await bmuxd.enginePid();
    const talks = await Promise.all(['local', 'tls', 'iroh'].map((target) => Talk.open(bmuxd, target)));
    for (const talk of talks) talk.start();
    process.kill(bmuxd.pid, 'SIGTERM');
    await waitFor('control to exit', () => !isAlive(bmuxd.pid));
    const counts = talks.map(({ check }) => check.count);
    await waitFor('traffic to go on', () =>
      talks.every(({ check }, index) => check.count > (counts[index] ?? 0) + 100_000),
    );
    t.ok(isAlive(engine));
    for (const talk of talks) await talk.quiet();
    for (const talk of talks) await talk.end();
    await waitFor('the engine to exit', () => !isAlive(engine));
    t.strictSame(await bmuxd.engines(), [], 'its socket is removed');
    await world.nothingHeld();
    const file = join(bmuxd.env['XDG_STATE_HOME'] ?? '', 'bmuxd', 'engine.log');
    const lines = (await readFile(file, 'utf8')).trim().split('\n');
    const messages = lines.map((line) => (JSON.parse(line) as { readonly msg?: string }).msg);
    t.equal(messages.filter((message) => message === 'stream over').length, 3);
    t.equal(messages.at(-1), 'engine leaves');
    t.equal((await stat(file)).mode & 0o777, 0o600);
  },
);

t.test('an engine gets SIGTERM: its streams end gracefully, and another engine serves', async (t) => {
  const world = await startWorld(t);
  const { bmuxd, server } = world;
  const engine = await bmuxd.enginePid();
  const truncated = (await server.status()).tls?.truncated;
  const talks = await Promise.all(['local', 'tls', 'tls', 'iroh'].map((target) => Talk.open(bmuxd, target)));
  for (const talk of talks) talk.start();
  await waitFor('traffic', () => talks.every(({ check }) => check.count > 20_000));
  process.kill(engine, 'SIGTERM');
  await waitFor('the streams to end', () => talks.every(({ incoming }) => incoming.ended));
  await waitFor('the engine to exit', () => !isAlive(engine));
  t.equal((await server.status()).tls?.truncated, truncated, 'each TLS stream ended with close_notify');
  await world.nothingHeld();
  const again = await Talk.open(bmuxd, 'tls');
  again.start();
  await again.quiet();
  await again.end();

  // Requests that come while an engine ends are served by the next one.
  for (let round = 0; round < 2; round += 1) {
    const engine = await bmuxd.enginePid();
    const opening = Array.from({ length: 10 }, () => Talk.open(bmuxd, 'local'));
    process.kill(engine, round === 0 ? 'SIGTERM' : 'SIGKILL');
    const opened = await Promise.allSettled([
      ...opening,
      Talk.open(bmuxd, 'local'),
      Talk.open(bmuxd, 'local'),
    ]);
    // Requests that the ending engine had accepted may fail. None of them may hang.
    for (const one of opened) {
      if (one.status === 'fulfilled') await one.value.end();
      else t.match(String(one.reason), /stream_ended|"code":"stopping"|the end came instead/);
    }
    const next = await Talk.open(bmuxd, 'local');
    await next.end();
    await waitFor('a serving engine', async () =>
      (await bmuxd.status()).engines.some(({ state, pid }) => state === 'serving' && pid !== engine),
    );
  }
  await world.nothingHeld();
});

t.test('an engine without streams exits when control is killed', async (t) => {
  const { bmuxd } = await startWorld(t, { settings: 'engine.drain_grace = 0\nengine.orphan_grace = 0\n' });
  const engine = await bmuxd.enginePid();
  await bmuxd.killControl();
  await waitFor('the engine to exit', () => !isAlive(engine));
  t.strictSame(await bmuxd.engines(), []);
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  const talk = await Talk.open(next, 'local');
  await talk.end();
});

/** A lifecycle of which only `parts` do anything. */
function lifecycleWith(parts: Partial<LifecycleOptions>): Lifecycle {
  const log = pino({ enabled: false });
  return new Lifecycle({
    settings: () => ({ ...defaultSettings(), 'engine.orphan_grace': 1, 'engine.drain_grace': 1 }),
    log,
    control: { tell: () => true, isThere: false },
    streams: { size: 0, live: () => [], endAll: () => Promise.resolve() },
    event: () => undefined,
    sockets: {
      waiting: 0,
      hasAccepted: true,
      hasTargetSockets: () => false,
      closeAll: () => undefined,
      refuseWaiting: () => undefined,
    },
    upstreams: {
      retire: () => undefined,
      trustChanged: () => undefined,
      hurry: () => undefined,
      close: () => Promise.resolve(),
    },
    network: { close: () => undefined },
    closeApi: () => Promise.resolve(),
    exit: () => undefined,
    ...parts,
  });
}

t.test('a stop waits for streams, and then for connections, until its limit', async (t) => {
  const steps: string[] = [];
  const never = new Promise<void>(() => undefined);
  const lifecycle = lifecycleWith({
    streams: { size: 1, live: () => [], endAll: () => never },
    upstreams: {
      retire: () => undefined,
      trustChanged: () => undefined,
      hurry: () => undefined,
      close: () => {
        steps.push('connections');
        return never;
      },
    },
    exit: () => {
      steps.push('exit');
    },
  });
  const timers = holdTimers(t);
  const stopping = lifecycle.stop();
  await timers.pass(LIMITS.stopMs - 1);
  t.strictSame(steps, []);
  await timers.pass(1);
  t.strictSame(steps, ['connections']);
  await timers.pass(LIMITS.stopMs);
  t.strictSame(steps, ['connections', 'exit']);
  await stopping;
});

t.test('a stream that begins after engine.drain_max is over has that time, too', async (t) => {
  let size = 1;
  const ends: string[] = [];
  const timers = holdTimers(t);
  const lifecycle = lifecycleWith({
    settings: () => ({ ...defaultSettings(), 'engine.drain_max': 2 }),
    streams: {
      get size() {
        return size;
      },
      live: () => [],
      endAll: (who) => {
        ends.push(who);
        return Promise.resolve();
      },
    },
  });
  lifecycle.takenOver();
  await timers.pass(2000);
  t.strictSame(ends, ['engine.drain_max, 2 s after its engine began to drain']);
  // Its client was accepted before, and has said nothing until now.
  size = 1;
  await timers.pass(1999);
  t.equal(ends.length, 1);
  await timers.pass(1);
  t.equal(ends.length, 2);
  size = 0;
  await timers.pass(2000);
  t.equal(ends.length, 2, 'without a stream nothing is ended');
  await lifecycle.stop();
});

t.test('an engine that drains waits for clients of target sockets that have said nothing yet', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const log = pino({ enabled: false });
  const { upstreams } = coldUpstreams(new ProtocolCache({ path: join(folder, 'protocol-cache.json'), log }));
  t.teardown(() => upstreams.close());
  let asked = 0;
  let isGone = false;
  const sockets = new EngineSockets({
    plan: () => Promise.reject(new Error('nobody asks')),
    streams: {
      add: ({ client }) => {
        asked += 1;
        client.socket.destroy();
      },
      isFull: () => false,
    },
    health: () => ({ schema: 1, pid: 1, generation: 'g', version: '0.1.0', sinceMs: 0 }),
    planning: new FairBound({ perKey: () => 1, total: 1 }),
    onIdle: () => {
      lifecycle.idle();
    },
    destinationOf: () => Promise.resolve(undefined),
    hasControl: () => false,
    upstreams,
    clients: new OwnClients({ log, folders: [folder] }),
    tally: new Tally('g'),
    event: () => undefined,
    log,
  });
  const lifecycle = lifecycleWith({
    sockets,
    exit: () => {
      isGone = true;
    },
  });
  const path = join(folder, 'target.sock');
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const { destination } = planFor({ transport: 'local', socketPath: join(folder, 'none.sock') });
  const socket = { kind: 'target', targetSocket: 'id', destination, principal: { id: 'p' } } as const;
  t.ok(sockets.handle({ type: 'listen', id: 1, socket }, server));
  const timers = holdTime(t);
  const connected = async (): Promise<Socket> => {
    const accepted = once(server, 'connection');
    const client = connect(path);
    await accepted;
    return client;
  };
  const [speaks, isSilent] = [await connected(), await connected()];
  lifecycle.drain('control is gone');
  await timers.pass(2000);
  t.notOk(isGone, 'both may still say something');
  speaks.write(rawModeFrame({ type: 'echo' }));
  await timers.until('the first to be served', () => asked === 1);
  await timers.pass(LIMITS.serverHelloMs - 2000);
  isSilent.resume();
  await timers.until('the other to be closed', () => isSilent.readableEnded);
  t.notOk(isGone, 'each of them begins the grace again');
  await timers.pass(1000);
  await timers.until('the end', () => isGone);
});
