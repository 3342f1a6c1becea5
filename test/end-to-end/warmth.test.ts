// Tests spares and warm connections of the real daemon: a later request finds a stream ready, the status shows it, and `bmuxd drop` closes it.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { connected, targetSocketEnv, eventsOf } from '../target-sockets/target-socket.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld } from './far-world.ts';

t.test('spares and warm connections of a target', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: 8000 });
  const { bmuxd, row, ask } = world;

  await t.test('each of 12 commands in a row gets a spare', async (t) => {
    t.equal((await ask('far')).warm, false, 'the first command makes its own connection');
    for (let command = 1; command <= 12; command += 1) {
      await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
      t.equal((await ask('far')).warm, true, `command ${command}`);
    }
    const { hellos = 0 } = (await world.tls.status()).server ?? {};
    t.ok(hellos > 12, 'each command had a stream of its own');
  });

  await t.test('the status shows the spares, their age and the round trip', async (t) => {
    await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
    const far = await row('far');
    t.match(far, { state: 'warm', transport: 'tls', epoch: 4, compression: 'zstd', warm: true, streams: 0 });
    t.ok((far?.roundTripMs ?? 0) >= 30, 'the round trip');
    t.ok((far?.connections ?? 0) >= (far?.spares ?? 0), 'each spare counts as a connection');
    const since = far?.warmSinceMs ?? 0;
    t.ok(since > Date.now() - 60_000 && since <= Date.now(), 'the age');
    const { stdout } = await bmuxd.bmuxd(['status']);
    t.match(
      stdout,
      /TARGET +TRANSPORT +EPOCH +COMPRESSION +STATE +ROUND TRIP +AGE +SPARES +CONNECTIONS +STREAMS/,
    );
    t.match(stdout, /^far +tls +4 +zstd +warm +[\d.]+ ms +\d+ s +[1-4] /m);
  });

  await t.test('drop closes spares and warm connections, but no live stream', async (t) => {
    for (const target of ['far', 'home']) {
      const { stream, info } = await bmuxd.open({ target });
      const client = new TestClient(stream, { epoch: info.epoch });
      await client.ping();
      t.match(await row(target), { state: 'warm', streams: 1 }, `${target} is warm`);
      t.match(await bmuxd.bmuxd(['drop', target]), { status: 0 });
      await waitFor('the target to be cold', async () => (await row(target))?.state === 'cold');
      t.match(await row(target), { spares: 0, streams: 1 });
      await client.ping();
      stream.end();
      await client.ended();
      await waitFor(
        'the connection of the stream to be freed',
        async () => ((await row(target))?.connections ?? 0) === 0,
      );
    }
  });

  await t.test('bmuxd warm makes a target warm before its first request', async (t) => {
    t.match(await bmuxd.bmuxd(['warm', 'home']), { status: 0 });
    t.match(await row('home'), { state: 'warm' });
    t.equal((await ask('home')).warm, true);
    t.match(await bmuxd.bmuxd(['warm', 'far']), { status: 0 });
    await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
    t.equal((await ask('far')).warm, true);
    const gone = await bmuxd.bmuxd(['warm', 'tls://127.0.0.1:1']);
    t.match(gone, { status: 1, stderr: /^TLS target unreachable: tls:\/\/127\.0\.0\.1:1\n/ });
    t.match(await row('tls://127.0.0.1:1'), {
      state: 'failing',
      lastError: { code: 'tls_unreachable', class: 'refused' },
    });
  });
});

t.test('the settings warm and spares of a target', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.home]\nwarm = true\n[targets.far]\nspares = 0\n',
  });
  // bmux.toml gets these targets only after the daemon has started.
  const { bmuxd, tls, row, ask } = world;
  await waitFor('the target with warm = true to be warm', async () => (await row('home'))?.state === 'warm');
  t.equal((await ask('home')).warm, true, 'warm at its first request');
  await ask('far');
  t.equal((await ask('far')).warm, false, 'spares = 0');
  t.match(await row('far'), { state: 'cold', spares: 0, connections: 0 });

  const settings = async (ofFar: string): Promise<void> => {
    await writeFile(bmuxd.env['BMUXD_CONFIG'] ?? '', `iroh.relays = "disabled"\n[targets.far]\n${ofFar}\n`);
    t.match(await bmuxd.bmuxd(['reload']), { status: 0 });
  };
  await settings('warm = false');
  await ask('far');
  t.equal((await ask('far')).warm, false, 'warm = false');
  t.match(await row('far'), { state: 'cold', spares: 0, connections: 0 });
  await settings('warm = true\nspares = 2');
  for (let turn = 0; turn < 2; turn += 1) {
    await Promise.all(Array.from({ length: 4 }, () => ask('far')));
    await waitFor('no connections but those of spares', async () => {
      const { spares = 0, connections } = (await row('far')) ?? {};
      return spares > 1 && connections === spares && (await tls.status()).connections === connections;
    });
    t.match(
      await row('far'),
      { state: 'warm', spares: 2, connections: 2 },
      'two spares, as the setting says',
    );
  }
});

t.test(
  'on a warm connection the Hello is answered from the hello cache, and a failed optimistic open is an event',
  async (t) => {
    const { bmuxd, iroh, tomlFor, ask, row } = await startFarWorld(t, { connectTimeoutMs: 8000 });
    await ask('home');
    await iroh.command({ do: 'hold' });
    // The stream opens although the server does not answer yet.
    const { stream, info } = await bmuxd.open({ target: 'home' });
    t.equal(info.warm, true);
    const client = new TestClient(stream, { epoch: info.epoch });
    const pong = client.ping();
    await iroh.command({ do: 'release' });
    await pong;
    await client.close();

    await iroh.command({ do: 'hold' });
    await bmuxd.configure('bmux.toml', tomlFor(iroh).replace('8000', '900'));
    const broken = await bmuxd.open({ target: 'home' });
    broken.stream.on('error', () => undefined).resume();
    // A request that must not be repeated.
    broken.stream.write(
      encodeRequestFrame(broken.info.epoch, 1n, { type: 'other', index: 7, body: Buffer.alloc(0) }),
    );
    await waitFor('the stream to end', () => broken.stream.readableEnded || broken.stream.destroyed);
    broken.stream.destroy();
    const events = await eventsOf(bmuxd);
    const told = events.find(({ type, target }) => type === 'optimistic open failed' && target === 'home');
    t.match(told?.detail, /within 900 ms/, 'the answer to the Hello has the time limit of the target');
    await iroh.command({ do: 'release' });
    await ask('home');
    t.match(await row('home'), {
      failingSinceMs: undefined,
      lastError: { code: 'hello_timeout', class: 'timeout' },
    });
  },
);

t.test('a spare of a share link is used without asking control', async (t) => {
  const { bmuxd, row } = await startFarWorld(t, { connectTimeoutMs: 8000 });
  const link = 'bmux://link';
  const targets = await readFile(join(bmuxd.env['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml'), 'utf8');
  await bmuxd.configure('bmux.toml', `${targets}[connections.share_links]\nlink = "far"\n`);
  const path = join((await targetSocketEnv(bmuxd, link))['BMUX_RUNTIME_DIR'] ?? '', 'server.sock');
  const greeted = async (): Promise<void> => {
    const client = new TestClient(await connected(path));
    await client.hello();
    await client.ping();
    await client.close();
  };
  for (let turn = 0; turn < 3; turn += 1) await greeted();
  await waitFor('spares', async () => ((await row(link))?.spares ?? 0) > 0);
  bmuxd.signal('SIGSTOP');
  t.teardown(() => {
    bmuxd.signal('SIGCONT');
  });
  const since = performance.now();
  await greeted();
  t.ok(performance.now() - since < LIMITS.renewMs, 'the stopped control was not asked where the link leads');
});
