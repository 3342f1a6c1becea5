// Warm iroh connections against an embedded gateway: shared dials, whose connection it is, room, loss, black holes, idleness.
import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Deadline } from '../../daemon/base/deadline.ts';
import { IrohPool, type IrohStream } from '../../daemon/pool/iroh-pool.ts';
import { compressed } from '../../daemon/compression/stream.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import type { IrohRoute } from '../../daemon/wire/plan.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { hasSshAgent, startAgent, waitFor } from '../real/index.ts';
import { failureOf } from '../transport/dialling.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pool-'));
t.teardown(async () => {
  await rm(folder, { recursive: true, force: true });
  // The binding holds the process for 30 s after a peer that was stopped.
  setTimeout(() => process.exit(), 500);
});
let servers = 0;

async function serve(t: Test, allowedKeys?: readonly string[]): Promise<Embedded> {
  const server = await launchEmbedded({
    socketPath: join(folder, `${(servers += 1)}.sock`),
    server: { epoch: 4, places: 1000 },
    iroh: { relays: 'disabled', compression: 'zstd', ...(allowedKeys && { allowedKeys }) },
  });
  t.teardown(() => server.stop());
  return server;
}

function poolFor(t: Test, options: Partial<ConstructorParameters<typeof IrohPool>[0]> = {}): IrohPool {
  const pool = new IrohPool({ relays: () => 'disabled', ...options });
  t.teardown(() => pool.close());
  return pool;
}

function routeTo({ iroh }: Embedded, agentSocket?: string | null): IrohRoute {
  const { endpointId = '', address = '' } = iroh ?? {};
  return {
    transport: 'iroh',
    endpointId,
    ipAddr: address,
    sshAuth: agentSocket !== undefined,
    ...(agentSocket === null || agentSocket === undefined ? {} : { agentSocket }),
  };
}

const wait = (ms = 8000, signal: AbortSignal = new AbortController().signal) => ({
  label: 'host',
  deadline: new Deadline(ms),
  signal,
});

async function greet({ stream }: IrohStream): Promise<TestClient> {
  const client = new TestClient(compressed(stream));
  await client.hello();
  return client;
}

const connectionsOf = async (server: Embedded): Promise<number> =>
  (await server.status()).iroh?.connections ?? 0;
const gateway = async (of: Embedded): Promise<{ live: number; connections: number }> =>
  (await of.status()).iroh ?? { live: 0, connections: 0 };
const nothingHeld = (server: Embedded): Promise<void> =>
  waitFor('the places to come back', async () => (await server.status()).connections === 0);

t.test('one dial for all who come at once, and none for those who come later', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  t.equal(pool.isWarm(routeTo(server)), false);
  const first = await Promise.all(Array.from({ length: 10 }, () => pool.stream(routeTo(server), wait())));
  t.ok(first.every(({ warm }) => !warm));
  const later = await pool.stream(routeTo(server), wait());
  t.equal(later.warm, true);
  t.equal(pool.isWarm(routeTo(server)), true);
  for (const one of [...first, later]) {
    await greet(one);
    await endGracefully(one.stream);
  }
  t.equal(await connectionsOf(server), 1);
  await nothingHeld(server);
});

t.test('more streams than a connection has room for', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  const opened = await Promise.all(Array.from({ length: 200 }, () => pool.stream(routeTo(server), wait())));
  await Promise.all(opened.map(greet));
  t.equal(await connectionsOf(server), 3, '84 each');
  await Promise.all(opened.map(({ stream }) => endGracefully(stream)));
  await nothingHeld(server);
});

t.test('a connection that was lost is replaced within the request', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  const { stream } = await pool.stream(routeTo(server), wait());
  const lost = new Promise((resolve) => stream.once('close', resolve));
  await greet({ stream, warm: false, doubtful: () => false });
  for (let round = 0; round < 5; round += 1) {
    await server.command({ do: 'drop-iroh-connections' });
    const one = await pool.stream(routeTo(server), wait());
    // It may have been opened before the loss was known: then the next one is good.
    const client = await greet(one).catch(async () => greet(await pool.stream(routeTo(server), wait())));
    await client.ping();
  }
  await lost;
});

t.test('a host that hangs', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  await greet(await pool.stream(routeTo(server), wait()));
  process.kill(server.pid, 'SIGSTOP');
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  const since = performance.now();
  const attempts = await Promise.allSettled([0, 1].map(async () => pool.stream(routeTo(server), wait(1500))));
  t.ok(performance.now() - since < 6500, 'nobody waits beyond its budget');
  for (const one of attempts) {
    if (one.status === 'rejected') t.match(one.reason, { code: 'iroh_connect_timeout' });
    else t.equal(one.value.stream.destroyed, false);
  }
  const later = pool.stream(routeTo(server), wait(8000));
  setTimeout(() => process.kill(server.pid, 'SIGCONT'), 500);
  const client = await greet(await later);
  await client.ping();
});

t.test('a caller that gives up leaves the dial to the others', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  process.kill(server.pid, 'SIGSTOP');
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  const abort = new AbortController();
  const given = failureLike(pool.stream(routeTo(server), wait(8000, abort.signal)));
  const short = failureOf(pool.stream(routeTo(server), wait(300)));
  const patient = pool.stream(routeTo(server), wait(8000));
  abort.abort(new Error('enough'));
  t.match(await given, /enough/, 'at once');
  t.equal((await short).code, 'iroh_connect_timeout', 'each has its own budget');
  process.kill(server.pid, 'SIGCONT');
  await greet(await patient);
  t.equal(await connectionsOf(server), 1, 'one dial');
});

t.test('a connection that nobody uses is closed in time, one with a stream is not', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t, { idleMs: 200, reapMs: 50 });
  const opened = await pool.stream(routeTo(server), wait());
  const client = await greet(opened);
  await new Promise((resolve) => setTimeout(resolve, 500));
  await client.ping();
  t.equal(pool.size, 1);
  await endGracefully(opened.stream);
  await waitFor('it to be closed', async () => pool.size === 0 && (await server.status()).iroh?.live === 0);
  await nothingHeld(server);
});

t.test('a connection of a target that is not to be warm goes after its last stream', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t, { reapMs: 50, warmth: () => false });
  const opened = await pool.stream(routeTo(server), wait());
  const client = await greet(opened);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await client.ping();
  await endGracefully(opened.stream);
  await waitFor('it to be closed', async () => pool.size === 0 && (await server.status()).iroh?.live === 0);
  await nothingHeld(server);
});

t.test('one loss is told once, however many find it out', async (t) => {
  const server = await serve(t);
  const told: string[] = [];
  const pool = poolFor(t, { event: ({ type }) => told.push(type) });
  await greet(await pool.stream(routeTo(server), wait()));
  process.kill(server.pid, 'SIGSTOP');
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  // What it had sent before would be taken for a sign of life.
  await new Promise((resolve) => setTimeout(resolve, 500));
  pool.distrust();
  await Promise.all(Array.from({ length: 5 }, () => failureOf(pool.stream(routeTo(server), wait(4000)))));
  t.same(told, ['connection made', 'connection lost']);
});

t.test('a dial under way when its host is dropped, or nobody will ask any more', async (t) => {
  for (const end of ['drop', 'rest'] as const) {
    const server = await serve(t);
    const pool = poolFor(t, { reapMs: 50 });
    const stop = (): void => {
      if (end === 'drop') pool.drop(routeTo(server), { label: 'host' });
      else pool.rest();
    };
    process.kill(server.pid, 'SIGSTOP');
    t.teardown(() => process.kill(server.pid, 'SIGCONT'));

    t.equal((await failureOf(pool.stream(routeTo(server), wait(300)))).code, 'iroh_connect_timeout');
    t.equal(pool.isDialling(routeTo(server)), true, 'it goes on without its caller');
    stop();
    process.kill(server.pid, 'SIGCONT');
    await waitFor('the end of the dial', () => !pool.isDialling(routeTo(server)));
    t.equal(pool.size, 0, `${end}: what nobody waits for is not kept`);

    process.kill(server.pid, 'SIGSTOP');
    const awaited = pool.stream(routeTo(server), wait());
    await waitFor('its dial', () => pool.isDialling(routeTo(server)));
    stop();
    process.kill(server.pid, 'SIGCONT');
    const opened = await awaited;
    await (await greet(opened)).ping();
    t.equal(pool.isWarm(routeTo(server)), false, `${end}: whoever waits gets a stream, and nobody else`);
    await endGracefully(opened.stream);
    await waitFor('it to be closed', async () => pool.size === 0 && (await server.status()).iroh?.live === 0);
  }
});

t.test('a host that a target has left', async (t) => {
  const [former, next] = [await serve(t), await serve(t)];
  const pool = poolFor(t, { reapMs: 50, warmth: () => true });
  const opened = await pool.stream(routeTo(former), wait());
  const client = await greet(opened);
  pool.moved(routeTo(former), routeTo(next), { label: 'host' });
  await waitFor('the other host to be warm', () => pool.isWarm(routeTo(next)));
  t.equal(pool.isWarm(routeTo(former)), false);
  await client.ping();
  await endGracefully(opened.stream);
  await waitFor('the former host to be let go', async () => (await gateway(former)).live === 0);
  t.equal((await gateway(next)).live, 1);
});

t.test('other relays', async (t) => {
  const host = await serve(t);
  let relays: 'disabled' | readonly string[] = 'disabled';
  const pool = poolFor(t, { reapMs: 50, relays: () => relays });
  const opened = await pool.stream(routeTo(host), wait());
  const client = await greet(opened);
  relays = ['http://127.0.0.1:9'];
  const later = await pool.stream(routeTo(host), wait());
  t.equal(later.warm, false, 'nothing new on a connection of the former ones');
  await greet(later);
  await client.ping();
  await endGracefully(opened.stream);
  await waitFor('the former connection to be closed', async () => (await gateway(host)).live === 1);
  const last = await pool.stream(routeTo(host), wait());
  t.equal(last.warm, true);
  await greet(last);

  await Promise.all([later, last].map(({ stream }) => endGracefully(stream)));
  relays = 'disabled';
  await waitFor('a connection that nobody asked for', async () => (await gateway(host)).connections === 3);
  await waitFor('the former one to be closed', async () => (await gateway(host)).live === 1);
});

t.test('close ends every stream gracefully', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  for (let i = 0; i < 5; i += 1) await greet(await pool.stream(routeTo(server), wait()));
  t.equal((await server.status()).connections, 5);
  await pool.close();
  await nothingHeld(server);
  await t.rejects(pool.stream(routeTo(server), wait(1000)));
  await waitFor('the connection to be closed', async () => (await server.status()).iroh?.live === 0);
});

t.test('who one is decides whose connection it is', { skip: !hasSshAgent() && 'no ssh-agent' }, async (t) => {
  const [ann, bob, eve] = await Promise.all([startAgent(), startAgent(), startAgent()]);
  t.teardown(() => Promise.all([ann, bob, eve].map((agent) => agent.stop())));
  const keys = [await ann.addKey('ed25519', 'ann'), await bob.addKey('rsa', 'bob')];
  await eve.addKey('ed25519', 'eve');
  const server = await serve(t, keys);
  const pool = poolFor(t);
  const open = (agent: string | null | undefined): Promise<IrohStream> =>
    pool.stream(routeTo(server, agent), wait());
  await greet(await open(ann.socket));
  t.equal((await open(ann.socket)).warm, true, 'the same key');
  const bobs = await open(bob.socket);
  t.equal(bobs.warm, false, 'another key: a connection of its own');
  await greet(bobs);
  t.equal((await open(bob.socket)).warm, true);
  t.equal(await connectionsOf(server), 2);
  t.equal((await failureOf(open(eve.socket))).code, 'ssh_auth_failed', 'a key that the host does not list');
  t.equal((await failureOf(open(null))).code, 'ssh_auth_failed', 'no agent');
  t.equal((await open(undefined)).warm, false, 'and who does not authenticate gets none of them');
  await ann.stop();
  t.equal((await failureOf(open(ann.socket))).code, 'ssh_auth_failed', 'an agent that is gone lists no key');
});

t.test(
  'a lost connection is made again where its key asks nobody',
  { skip: !hasSshAgent() && 'no ssh-agent' },
  async (t) => {
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const keys = [await agent.addKey('ed25519', 'ann')];
    const asking = await askingAgent(t, agent.socket);
    const [silent, asked] = [await serve(t, keys), await serve(t, keys)];
    const pool = poolFor(t);
    await endGracefully((await pool.stream(routeTo(silent, agent.socket), wait())).stream);
    await endGracefully((await pool.stream(routeTo(asked, asking), wait())).stream);
    await asked.command({ do: 'drop-iroh-connections' });
    await waitFor('the loss to be known', () => !pool.isWarm(routeTo(asked, asking)));
    await silent.command({ do: 'drop-iroh-connections' });
    await waitFor('a connection that nobody asked for', async () => (await connectionsOf(silent)) === 2);
    t.equal(pool.isDialling(routeTo(asked, asking)), false, 'nobody is there to confirm');
    t.equal(await connectionsOf(asked), 1);
    t.equal((await pool.stream(routeTo(asked, asking), wait())).warm, false, 'until somebody asks');
  },
);

/** An agent that takes its time to sign, as one does that asks a person: a relay before the real one. */
async function askingAgent(t: Test, real: string): Promise<string> {
  const SIGN_REQUEST = 13;
  const path = join(folder, `asking-${String((servers += 1))}.sock`);
  const server = createServer((socket) => {
    const upstream = connect(real);
    upstream.pipe(socket);
    for (const one of [socket, upstream]) one.on('error', () => undefined);
    socket.on('close', () => upstream.destroy());
    socket.once('data', (request: Buffer) => {
      setTimeout(() => upstream.write(request), request[4] === SIGN_REQUEST ? 1000 : 0);
    });
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return path;
}

async function failureLike(work: Promise<unknown>): Promise<string> {
  return work.then(() => 'it succeeded', String);
}
