// First contact with servers of both generations behind real gateways' behaviour, over each transport, and what is remembered of it.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeResponseFrame } from '../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import type { Plan, Route } from '../../daemon/engine-protocol/plan.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/child.ts';
import { failureOf } from '../transport/dialling.ts';
import { planFor, routesTo, startOpener, type Opener } from './opener.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-hello-'));
const server = await launchEmbedded({
  socketPath: join(folder, 'server.sock'),
  server: { epoch: 4 },
  tls: { compression: 'zstd' },
  iroh: { relays: 'disabled', compression: 'zstd' },
});
t.teardown(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});
const routes = await routesTo(server, folder);

const opener = async (t: Test, options: Parameters<typeof startOpener>[0] = {}): Promise<Opener> => {
  const one = await startOpener(options);
  t.teardown(() => one.close());
  return one;
};
const behind = async (
  epoch: Epoch | 'both',
  mode: 'zstd' | 'none',
  more: { connections?: number; handshakeTimeoutMs?: number } = {},
): Promise<void> => {
  // A short limit, so that connections come back soon; where it matters, a test asks for that of a real server.
  await server.command({ do: 'start-server', server: { epoch, handshakeTimeoutMs: 1000, ...more } });
  await server.command({ do: 'set-compression', mode });
};
/**
 * Neither the server nor a gateway has kept anything. A gateway that compresses keeps a Hello that does not until the server's
 * handshake limit of 5 s, as the real one does: that is no loss.
 */
const nothingHeld = async (): Promise<void> => {
  await waitFor('the connections to come back', async () => (await server.status()).connections === 0);
};
const use = async (one: Opener, plan: Plan): Promise<string> => {
  const opened = await one.open(plan);
  const client = new TestClient(opened.stream, { epoch: opened.candidate.epoch });
  await client.ping();
  await one.end(opened);
  return `${opened.candidate.epoch} ${opened.candidate.compression}`;
};

t.test('each generation in each compression, over each transport', async (t) => {
  const truncated = (await server.status()).tls?.truncated;
  for (const epoch of [4, 3] as const) {
    for (const mode of ['zstd', 'none'] as const) {
      await behind(epoch, mode);
      for (const route of [routes.local, routes.tls, routes.iroh]) {
        const one = await opener(t);
        const found = await use(one, planFor(route));
        t.equal(
          found,
          `${epoch} ${route.transport === 'local' ? 'none' : mode}`,
          `${route.transport} ${mode}`,
        );
        await one.close();
        await nothingHeld();
      }
    }
  }
  t.equal((await server.status()).tls?.truncated, truncated, 'every TLS stream had its close_notify');
});

t.test('what won is remembered over a restart, and found anew when it no longer fits', async (t) => {
  await behind(4, 'none');
  const first = await opener(t);
  await use(first, planFor(routes.tls));
  await first.protocolCache.flushed();
  const second = await opener(t, { learntPath: first.learntPath });
  const before = (await server.status()).tls?.accepted ?? 0;
  t.equal(await use(second, planFor(routes.tls)), '4 none');
  t.equal((await server.status()).tls?.accepted, before + 1, 'one stream is enough');
  for (const [epoch, mode] of [
    [4, 'zstd'],
    [3, 'zstd'],
    [4, 'none'],
  ] as const) {
    await behind(epoch, mode);
    const since = performance.now();
    t.equal(await use(second, planFor(routes.tls)), `${epoch} ${mode}`, 'in the same request');
    t.ok(performance.now() - since < 15_000);
    await nothingHeld();
  }
});

t.test('a caller that speaks one epoch', async (t) => {
  const wants = (epoch: Epoch, route: Route): Plan => planFor(route, { client: { contract: { epoch } } });
  for (const [spoken, wanted] of [
    [4, 3],
    [3, 4],
  ] as const) {
    await behind(spoken, 'zstd');
    for (const route of [routes.local, routes.tls, routes.iroh]) {
      const one = await opener(t);
      const text = `bmux error: incompatible IPC wire epoch (client=${wanted}, server=${spoken}). Restart or update the server so both sides share a wire epoch.`;
      t.equal((await failureOf(one.open(wants(wanted, route)))).message, text, `${route.transport}: unknown`);
      t.equal(
        await use(one, wants(spoken, route)),
        `${spoken} ${route.transport === 'local' ? 'none' : 'zstd'}`,
      );
      t.equal((await failureOf(one.open(wants(wanted, route)))).message, text, 'known: proven afresh');
      await nothingHeld();
    }
  }
  await behind('both', 'zstd');
  const one = await opener(t);
  for (const epoch of [3, 4, 3] as const)
    t.equal(await use(one, wants(epoch, routes.tls)), `${epoch} zstd`, 'a server of both');
  await nothingHeld();
});

t.test('a contract that is refused', async (t) => {
  await behind(4, 'zstd');
  const one = await opener(t);
  const revisions = { min: 8, max: 9 };
  for (const route of [routes.local, routes.tls]) {
    const failure = await failureOf(
      one.open(planFor(route, { client: { contract: { epoch: 4, revisions } } })),
    );
    t.match(
      failure.message,
      /^bmux error: no overlapping protocol revision \(client=8-9, server=1-1\)\. Update/,
    );
  }
  await server.command({ do: 'set-capabilities', capabilities: ['core.session'] });
  const failure = await failureOf(one.open(planFor(routes.tls)));
  t.match(failure.message, /^bmux error: missing shared core protocol capabilities: core\.control, /);
  await server.command({ do: 'set-capabilities', capabilities: null });
  await nothingHeld();
});

t.test('nearly full and full', async (t) => {
  for (const [mode, route] of [
    ['zstd', routes.tls],
    ['none', routes.iroh],
  ] as const) {
    await behind(4, mode, { connections: 3, handshakeTimeoutMs: 5000 });
    const held = await Promise.all([1, 2].map(() => hold(server.socketPath)));
    const one = await opener(t);
    t.equal(
      await use(one, planFor(route, { budgetMs: 20_000 })),
      `4 ${mode}`,
      `${route.transport}: the last place is found`,
    );
    held.push(await hold(server.socketPath));
    for (const full of [routes.local, route]) {
      const other = await opener(t);
      const failure = await failureOf(other.open(planFor(full, { budgetMs: 3000 })));
      t.equal(failure.code, 'connection_lost', full.transport);
      t.match(failure.data.remedy, /full/);
    }
    for (const socket of held) socket.destroy();
    await nothingHeld();
  }
});

t.test('the last place, taken by a Hello that its gateway keeps for 5 s', async (t) => {
  await behind(4, 'zstd', { connections: 1, handshakeTimeoutMs: 5000 });
  const one = await opener(t);
  // bmux's config says that this target does not compress, and it does.
  t.equal(
    await use(one, planFor(routes.tls, { budgetMs: 20_000, destination: { compression: ['none', 'zstd'] } })),
    '4 zstd',
  );
  await nothingHeld();
});

t.test('a full server is no reason to forget how it speaks', async (t) => {
  await behind(4, 'none', { connections: 1 });
  const one = await opener(t);
  // Not known yet: the candidates take the one connection from each other, and are tried alone only after the server's limit of 5 s.
  await use(one, planFor(routes.tls, { budgetMs: 20_000 }));
  const held = await hold(server.socketPath);
  await failureOf(one.open(planFor(routes.tls, { budgetMs: 2000 })));
  held.destroy();
  await nothingHeld();
  const before = (await server.status()).tls?.accepted ?? 0;
  await use(one, planFor(routes.tls));
  t.equal((await server.status()).tls?.accepted, before + 1);
});

t.test('a server that is gone behind its gateway', async (t) => {
  await behind(4, 'zstd');
  await server.command({ do: 'stop-server' });
  const one = await opener(t);
  for (const route of [routes.tls, routes.iroh])
    t.equal((await failureOf(one.open(planFor(route)))).code, 'connection_lost', route.transport);
  t.equal((await failureOf(one.open(planFor(routes.local)))).code, 'server_not_running');
});

t.test('peers that answer something else, or nothing', async (t) => {
  const behaviours: readonly [name: string, code: string, (socket: Socket) => void][] = [
    ['an error', 'hello_refused', (s) => s.write(errorFrame('invalid_request'))],
    ['a version mismatch', 'protocol_mismatch', (s) => s.write(errorFrame('version_mismatch'))],
    ['another version', 'protocol_mismatch', (s) => s.write(frameOfVersion(9))],
    ['garbage', 'peer_malformed', (s) => s.write('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a frame that is none', 'peer_malformed', (s) => s.write(Buffer.from([3, 0, 0, 0, 255, 255, 255]))],
    ['nothing', 'hello_timeout', () => undefined],
    ['an end', 'connection_lost', (s) => s.end()],
    ['a reset', 'connection_lost', (s) => s.destroy()],
  ];
  for (const [name, code, behave] of behaviours) {
    const path = join(folder, 'odd.sock');
    const sockets = new Set<Socket>();
    const peer = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('end', () => socket.end());
      socket.on('close', () => sockets.delete(socket));
      socket.once('data', () => behave(socket));
    });
    peer.listen(path);
    await once(peer, 'listening');
    const one = await opener(t);
    const since = performance.now();
    const failure = await failureOf(
      one.open(planFor({ transport: 'local', socketPath: path }, { budgetMs: 2000 })),
    );
    t.equal(failure.code, code, name);
    t.ok(performance.now() - since < 15_000, `${name}: in time`);
    await waitFor('every stream to be ended', () => sockets.size === 0);
    peer.close();
    await once(peer, 'close');
  }
});

t.test('a host that demands SSH auth is silent to who does not authenticate', async (t) => {
  const strict = await launchEmbedded({
    socketPath: join(folder, 'strict.sock'),
    server: { epoch: 4 },
    iroh: { relays: 'disabled', compression: 'zstd', allowedKeys: [] },
  });
  t.teardown(() => strict.stop());
  const one = await opener(t);
  const { endpointId = '', address = '' } = strict.iroh ?? {};
  const route: Route = { transport: 'iroh', endpointId, ipAddr: address, sshAuth: false };
  const failure = await failureOf(one.open(planFor(route, { budgetMs: 1500 })));
  // It closes the connection when what it takes for a line is none.
  t.match(
    failure.message,
    /^bmux error: (no answer to the Hello from target 'prod' within \d{4,5} ms\.$|server connection lost)/,
  );
  t.match(failure.data.remedy, /iroh_ssh_auth/);
});

t.test('the text is that of the step that was running', async (t) => {
  const silent = createServer({ allowHalfOpen: true });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const sockets: Socket[] = [];
  silent.on('connection', (socket) => sockets.push(socket));
  const address = silent.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const one = await opener(t);
  const tls: Route = { transport: 'tls', host: '127.0.0.1', port, serverName: 'localhost' };
  t.equal((await failureOf(one.open(planFor(tls, { budgetMs: 3000 })))).code, 'tls_handshake_timeout');
  for (const socket of sockets) socket.destroy();
  await behind(4, 'none', { handshakeTimeoutMs: 30_000 });
  await server.command({ do: 'hold' });
  const late = async (route: Route): Promise<void> => {
    const { code } = await failureOf(one.open(planFor(route, { budgetMs: 3000 })));
    t.match(code, /^hello_/, route.transport);
  };
  await Promise.all([routes.local, routes.tls, routes.iroh].map(late));
  await server.command({ do: 'release' });
  await nothingHeld();
});

t.test('a request that is given up', async (t) => {
  await behind(4, 'zstd');
  const one = await opener(t);
  await use(one, planFor(routes.iroh));
  await server.command({ do: 'hold' });
  for (const route of [routes.local, routes.tls, routes.iroh]) {
    const abort = new AbortController();
    const opening = failureOf(one.open(planFor(route), abort.signal));
    setTimeout(() => abort.abort(new Error('enough')), 100);
    t.equal((await opening).code, 'internal', `${route.transport}: at once`);
  }
  await server.command({ do: 'release' });
  await nothingHeld();
});

async function hold(path: string): Promise<Socket> {
  const socket = connect(path);
  const client = new TestClient(socket, { epoch: await epochNow() });
  await client.hello();
  return socket;
}

async function epochNow(): Promise<Epoch> {
  const probe = connect(server.socketPath);
  const client = new TestClient(probe, { epoch: 3, limitMs: 2000 });
  const epoch = await client.hello().then(
    () => 3 as const,
    () => 4 as const,
  );
  probe.destroy();
  return epoch;
}

function errorFrame(code: 'invalid_request' | 'version_mismatch'): Buffer {
  return encodeResponseFrame(4, 1n, { type: 'error', code, message: 'no' });
}

function frameOfVersion(version: number): Buffer {
  const frame = errorFrame('invalid_request');
  frame[4] = version;
  return frame;
}
