// First contact with servers of both epochs, directly and behind gateways, over each transport; and what the protocol cache keeps of it.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import type { Plan, Route } from '../../daemon/engine-protocol/plan.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/child.ts';
import { failureOf } from '../transport/dialling.ts';
import { openerFor, planFor, routesTo, type Opener } from './opener.ts';

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

const behind = async (
  epoch: Epoch | 'both',
  mode: 'zstd' | 'none',
  more: { connections?: number; handshakeTimeoutMs?: number } = {},
): Promise<void> => {
  // A short limit, so that the server frees its connections soon. Tests that depend on the limit of a real server set it.
  await server.command({ do: 'start-server', server: { epoch, handshakeTimeoutMs: 1000, ...more } });
  await server.command({ do: 'set-compression', mode });
};
/**
 * Waits until neither the server nor a gateway holds a connection. A gateway that compresses keeps the connection of a Hello without
 * compression until the server's handshake limit, as the real one does.
 */
const nothingHeld = async (): Promise<void> => {
  await waitFor('all connections to be closed', async () => (await server.status()).connections === 0);
};
const use = async (one: Opener, plan: Plan): Promise<string> => {
  const opened = await one.open(plan);
  const client = new TestClient(opened.stream, { epoch: opened.candidate.epoch });
  await client.ping();
  await one.end(opened);
  return `${opened.candidate.epoch} ${opened.candidate.compression}`;
};

t.test('each epoch in each compression is detected over each transport', async (t) => {
  const truncated = (await server.status()).tls?.truncated;
  for (const epoch of [4, 3] as const) {
    for (const mode of ['zstd', 'none'] as const) {
      await behind(epoch, mode);
      for (const route of [routes.local, routes.tls, routes.iroh]) {
        const one = await openerFor(t);
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
  t.equal((await server.status()).tls?.truncated, truncated, 'every TLS stream ended with close_notify');
});

t.test(
  'every Hello of a first contact is sent before the server answers one, over one iroh connection',
  async (t) => {
    await behind(4, 'zstd');
    const before = (await server.status()).iroh?.connections ?? 0;
    for (const route of [routes.tls, routes.iroh]) {
      const one = await openerFor(t);
      await server.command({ do: 'hold' });
      // No candidate is tried because another one is silent: no time passes.
      const timers = holdTimers(t);
      const found = use(one, planFor(route));
      const late = performance.now() + 60_000;
      while ((await server.status()).connections < 4)
        if (performance.now() > late)
          throw new Error(`${route.transport}: a candidate waits for another one`);
      timers.release();
      await server.command({ do: 'release' });
      t.equal(await found, '4 zstd', route.transport);
      await one.close();
      await nothingHeld();
    }
    t.equal((await server.status()).iroh?.connections, before + 1, 'all streams are on one connection');
  },
);

t.test(
  'the detected protocol is kept over a restart, and detected again when the server has changed',
  async (t) => {
    await behind(4, 'none');
    const first = await openerFor(t);
    await use(first, planFor(routes.tls));
    await first.protocolCache.flushed();
    const second = await openerFor(t, { cachePath: first.cachePath });
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
      t.equal(
        await use(second, planFor(routes.tls)),
        `${epoch} ${mode}`,
        'detected again within one request',
      );
      t.ok(performance.now() - since < 15_000);
      await nothingHeld();
    }
  },
);

t.test('a caller that speaks one epoch is refused by a server of the other one', async (t) => {
  const wants = (epoch: Epoch, route: Route): Plan => planFor(route, { client: { contract: { epoch } } });
  for (const [spoken, wanted] of [
    [4, 3],
    [3, 4],
  ] as const) {
    await behind(spoken, 'zstd');
    for (const route of [routes.local, routes.tls, routes.iroh]) {
      const one = await openerFor(t);
      const text = `bmux error: incompatible IPC wire epoch (client=${wanted}, server=${spoken}). Restart or update the server so both sides share a wire epoch.`;
      t.equal((await failureOf(one.open(wants(wanted, route)))).message, text, `${route.transport}: unknown`);
      t.equal(
        await use(one, wants(spoken, route)),
        `${spoken} ${route.transport === 'local' ? 'none' : 'zstd'}`,
      );
      t.equal(
        (await failureOf(one.open(wants(wanted, route)))).message,
        text,
        'known: the server is asked again',
      );
      await nothingHeld();
    }
  }
  await behind('both', 'zstd');
  const one = await openerFor(t);
  for (const epoch of [3, 4, 3] as const)
    t.equal(await use(one, wants(epoch, routes.tls)), `${epoch} zstd`, 'a server of both epochs');
  await nothingHeld();
});

t.test('a refused contract is reported in the words of bmux', async (t) => {
  await behind(4, 'zstd');
  const one = await openerFor(t);
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

t.test('the last connection of a server is found, and a full server is reported', async (t) => {
  for (const [mode, route] of [
    ['zstd', routes.tls],
    ['none', routes.iroh],
  ] as const) {
    await behind(4, mode, { connections: 3, handshakeTimeoutMs: 4000 });
    const held = await Promise.all([1, 2].map(() => hold(server.socketPath)));
    const one = await openerFor(t);
    t.equal(
      await use(one, planFor(route, { budgetMs: 20_000 })),
      `4 ${mode}`,
      `${route.transport}: the last connection is found`,
    );
    held.push(await hold(server.socketPath));
    for (const full of [routes.local, route]) {
      const other = await openerFor(t);
      const failure = await failureOf(other.open(planFor(full, { budgetMs: 3000 })));
      t.equal(failure.code, 'connection_lost', full.transport);
      t.match(failure.data.remedy, /full/);
    }
    for (const socket of held) socket.destroy();
    await nothingHeld();
  }
});

t.test(
  'a Hello in the wrong compression holds the last connection until the limit; the next candidate waits for it',
  async (t) => {
    // A second earlier than the real one: on a busy machine the server may be late.
    await behind(4, 'zstd', { connections: 1, handshakeTimeoutMs: 4000 });
    const one = await openerFor(t);
    // bmux's config says that this target does not compress, and it does.
    t.equal(
      await use(
        one,
        planFor(routes.tls, { budgetMs: 20_000, destination: { compression: ['none', 'zstd'] } }),
      ),
      '4 zstd',
    );
    await nothingHeld();
  },
);

t.test('the protocol of a full server stays in the protocol cache', async (t) => {
  await behind(4, 'none', { connections: 1 });
  const one = await openerFor(t);
  // The protocol is not known yet. The candidates compete for the one connection, and are tried alone after the server's limit of 5 s.
  await use(one, planFor(routes.tls, { budgetMs: 20_000 }));
  const held = await hold(server.socketPath);
  await failureOf(one.open(planFor(routes.tls, { budgetMs: 2000 })));
  held.destroy();
  await nothingHeld();
  const before = (await server.status()).tls?.accepted ?? 0;
  await use(one, planFor(routes.tls));
  t.equal((await server.status()).tls?.accepted, before + 1);
});

t.test('a gateway without its server: the stream is closed without an answer', async (t) => {
  await behind(4, 'zstd');
  await server.command({ do: 'stop-server' });
  const one = await openerFor(t);
  for (const route of [routes.tls, routes.iroh])
    t.equal((await failureOf(one.open(planFor(route)))).code, 'connection_lost', route.transport);
  t.equal((await failureOf(one.open(planFor(routes.local)))).code, 'server_not_running');
});

t.test('the error of a timeout names the step that was running', async (t) => {
  const silent = createServer({ allowHalfOpen: true });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const sockets: Socket[] = [];
  silent.on('connection', (socket) => sockets.push(socket));
  const address = silent.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const one = await openerFor(t);
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

t.test('an aborted request rejects at once, and its streams are ended', async (t) => {
  await behind(4, 'zstd');
  const one = await openerFor(t);
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
