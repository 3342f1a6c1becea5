// Tests the end of live streams by a deadline: `engine.drain_max`, `bmuxd stop --drain`, and the bound on draining engines.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import pino from 'pino';
import type { StreamEnd, StreamList } from '../../daemon/api/answers.ts';
import { EngineDirectory } from '../../daemon/control/engines/engine-directory.ts';
import { Draining, MAX_DRAINING } from '../../daemon/control/engines/others/draining.ts';
import { BMUXD, collect, startBmuxd } from '../daemon/bmuxd.ts';
import { Rig } from '../control/engines/supervisor-rig.ts';
import { halt, isAlive, waitFor } from '../real/index.ts';
import { startWorld, Talk } from './world.ts';

t.setTimeout(120_000);

t.test('engine.drain_max ends the streams of a former engine, and their clients are told why', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const talks = await Promise.all(['local', 'tls', 'iroh'].map((target) => Talk.open(bmuxd, target)));
  for (const talk of talks) talk.start();
  await bmuxd.killControl();
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  await waitFor('the former engine to be told', async () =>
    (await next.status()).engines.some(({ state }) => state === 'draining'),
  );
  const fresh = await Talk.open(next, 'tls');
  fresh.start();
  const settings = 'warmth.max_connections = 0\niroh.relays = "disabled"\n';
  await writeFile(next.env['BMUXD_CONFIG'] ?? '', `${settings}engine.drain_max = 1\n`);
  await next.http('POST', '/v1/reload');
  await waitFor('the streams to end', () => talks.every(({ incoming }) => incoming.ended));
  for (const { id, target } of talks) {
    const end = (await next.http('GET', `/v1/streams/${id}/end`)).body as StreamEnd;
    t.match(end.lost, /^it was ended by engine\.drain_max, 1 s after its engine began to drain$/, target);
  }
  await fresh.quiet();
  await fresh.end();
  await world.nothingHeld();
});

t.test('bmuxd stop --drain: live streams go on, new ones are refused, and --now cuts it short', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const talks = await Promise.all(['local', 'tls'].map((target) => Talk.open(bmuxd, target)));
  for (const talk of talks) talk.start();
  t.match(await bmuxd.bmuxd(['stop', '--drain', '1h', '--now']), { status: 2, stderr: /exclude each other/ });
  t.match(await bmuxd.bmuxd(['stop', '--drain', 'soon']), { status: 2, stderr: /'soon' is not a time/ });
  const stopping = bmuxd.bmuxd(['stop', '--drain', '1h']);
  await waitFor('the status to tell', async () =>
    (await bmuxd.status()).problems.some(({ failure }) => failure.code === 'draining'),
  );
  const refused: unknown = await bmuxd.open({ target: 'local' }).catch((error: unknown) => error);
  t.match(refused, { data: { code: 'draining' } });
  const [first, second] = talks;
  await first?.quiet();
  await first?.end();
  const before = second?.check.count ?? 0;
  await waitFor('traffic to go on', () => (second?.check.count ?? 0) > before + 50_000);
  t.ok(isAlive(bmuxd.pid));
  t.match(await bmuxd.bmuxd(['stop', '--now']), { status: 0 });
  t.match(await stopping, { status: 0 });
  t.ok(second?.incoming.ended);
  await world.nothingHeld();
});

t.test('bmuxd stop --drain: the time is over', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const { stream } = await bmuxd.open({ target: 'tls' });
  const failed = new Promise((resolve) => stream.resume().once('error', resolve));
  t.match(await bmuxd.bmuxd(['stop', '--drain', '1s']), { status: 0 });
  t.match(await failed, {
    data: { code: 'stream_lost', detail: /it was ended by bmuxd stop --drain, 1 s later$/ },
  });
  await world.nothingHeld();
});

/** An engine as another control process sees it. Collects what it is told. */
async function engineAt(t: Test, dir: string, generation: string, streams: number): Promise<string[]> {
  const told: string[] = [];
  const engine = { generation, pid: process.pid, version: '0.1.0', sinceMs: 0, state: 'draining', streams };
  const server = createServer((request, response) => {
    if (request.method === 'POST') told.push(request.url ?? '');
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ schema: 1, engine, upstreams: [] }));
  });
  await new Promise<void>((resolve) => server.listen(join(dir, `${generation}.sock`), resolve));
  t.teardown(() => server.close());
  return told;
}

t.test('the oldest engines with streams are ended when too many drain', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => rm(dir, { recursive: true }));
  const old = await engineAt(t, dir, 'a01', 1);
  const idle = await engineAt(t, dir, 'a00', 0);
  const newer = await Promise.all(
    Array.from({ length: MAX_DRAINING }, (_, index) =>
      engineAt(t, dir, `b${String(index).padStart(2, '0')}`, 2),
    ),
  );
  const current = await engineAt(t, dir, 'c00', 3);
  const directory = new EngineDirectory({ dir });
  await waitFor(
    'each engine to answer',
    async () => (await directory.beside('c00')).length === 2 + MAX_DRAINING,
  );
  let isOurs = false;
  const draining = new Draining({
    directory,
    isOurs: () => Promise.resolve(isOurs),
    settings: () => ({ 'engine.drain_max': 'none' }),
    log: pino({ enabled: false }),
  });
  await draining.drainOthers('c00');
  t.same(old, [], 'another daemon has taken over during the survey');
  isOurs = true;
  await draining.drainOthers('c00');
  t.same(old, ['/v1/drain?max=none', `/v1/drain?max=none&newer=${String(MAX_DRAINING)}`]);
  t.same(idle, ['/v1/drain?max=none'], 'one without streams does not count');
  for (const told of newer) t.same(told, ['/v1/drain?max=none']);
  t.same(current, []);
});

t.test('an engine that another daemon has told to drain is replaced by its own', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const talk = await Talk.open(bmuxd, 'tls');
  talk.start();
  const [engine = ''] = await bmuxd.engines();
  // As by a daemon that was replaced just then, and does not know it yet.
  const directory = new EngineDirectory({ dir: join(bmuxd.folder, 'd', 'engines') });
  await directory.post(engine.replace('.sock', ''), '/v1/drain?max=none');
  await waitFor('the next engine', async () =>
    (await bmuxd.status()).engines.some(({ state }) => state === 'serving'),
  );
  const { stream } = await bmuxd.open({ target: 'tls' });
  stream.destroy();
  await talk.quiet();
  await talk.end();
});

t.test('a daemon that is replaced starts no other engine for its own one, which drains then', async (t) => {
  const rig = new Rig();
  t.teardown(() => {
    rig.supervisor.close();
  });
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  const row = { generation: 'x', pid: process.pid, version: '0.1.0', sinceMs: 0, streams: 1 };
  rig.ask = () => Promise.resolve({ schema: 1, engine: { ...row, state: 'draining' }, upstreams: [] });
  rig.isOurs = false;
  await rig.supervisor.look();
  await rig.clock.advance(1000);
  t.equal(rig.processes.length, 1);
  rig.isOurs = true;
  await rig.supervisor.look();
  await rig.clock.advance(1000);
  t.equal(rig.processes.length, 2, 'it was told by mistake');
});

t.test('an engine that is told that too many drain ends its streams', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const talk = await Talk.open(bmuxd, 'tls');
  const [engine = ''] = await bmuxd.engines();
  const directory = new EngineDirectory({ dir: join(bmuxd.folder, 'd', 'engines') });
  await directory.post(engine.replace('.sock', ''), '/v1/drain?max=none&newer=16');
  await waitFor('the stream to end', () => talk.incoming.ended);
  const end = (await bmuxd.http('GET', `/v1/streams/${talk.id}/end`)).body as StreamEnd;
  t.equal(end.lost, 'it was ended by bmuxd: 16 newer engines drain, too');
  t.same(((await bmuxd.http('GET', '/v1/streams')).body as StreamList).streams, []);
});

t.test('a stop says when another daemon has taken over meanwhile', async (t) => {
  const { bmuxd } = await startWorld(t);
  const talk = await Talk.open(bmuxd, 'tls');
  const stopping = bmuxd.bmuxd(['stop', '--drain', '1h']);
  await waitFor('the daemon to drain', async () =>
    (await bmuxd.status()).problems.some(({ failure }) => failure.code === 'draining'),
  );
  t.match(await bmuxd.bmuxd(['restart']), { status: 0 });
  t.match(await stopping, {
    status: 1,
    stdout: '',
    stderr: /has taken over meanwhile and runs[^]*`bmuxd stop` again[^]*daemon_replaced/,
  });
  t.notOk(talk.incoming.ended, 'the stream goes on');
  t.match(await bmuxd.bmuxd(['stop']), { status: 0, stdout: 'bmuxd has stopped\n' });
  await waitFor('the stream to end', () => talk.incoming.ended);
});

t.test(
  'a stop succeeds when the daemon is started again after its end, as by a service manager',
  async (t) => {
    const { bmuxd } = await startWorld(t);
    const talk = await Talk.open(bmuxd, 'tls');
    const stop = spawn(process.execPath, [BMUXD, 'stop', '--drain', '1h'], { env: { ...bmuxd.env } });
    const stopped = collect(stop);
    await waitFor('the daemon to drain', async () =>
      (await bmuxd.status()).problems.some(({ failure }) => failure.code === 'draining'),
    );
    await halt(stop.pid ?? 0);
    await bmuxd.http('POST', '/v1/stop');
    await waitFor('the daemon to be gone', () => !isAlive(bmuxd.pid));
    const next = await startBmuxd({ sandbox: bmuxd });
    t.teardown(() => next.stop());
    stop.kill('SIGCONT');
    const { status, stdout, stderr } = await stopped;
    t.same([status, stdout.toString(), stderr], [0, 'bmuxd has stopped\n', '']);
    t.ok(talk.incoming.ended);
  },
);
