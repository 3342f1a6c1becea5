// Tests the protocol on target sockets, for each transport and both epochs: clients get what the embedded server itself would answer.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { TestClient, type TestClientOptions } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import type { EmbeddedOptions } from '../embedded/options.ts';
import { hasSshAgent, startAgent, waitFor, type RealAgent } from '../real/index.ts';
import { connected, targetSocketEnv, targetSocketIs, targetSocketPath, eventsOf } from './target-socket.ts';
import { startLoad } from './load.ts';
import { targetToml } from './ways.ts';

t.setTimeout(300_000);

interface Ways {
  readonly embedded: Embedded;
  readonly config: string;
}

/** A server with gateways of both kinds; the second return value is what bmux.toml says of them, under names that end in `suffix`. */
async function launch(t: Test, suffix: string, options: Omit<EmbeddedOptions, 'socketPath'>): Promise<Ways> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-target-sockets-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const embedded = await launchEmbedded({ ...options, socketPath: join(folder, 'server.sock') });
  t.teardown(() => embedded.stop());
  const { tls, iroh } = embedded;
  const caFile = join(folder, 'ca.pem');
  if (tls !== undefined) await writeFile(caFile, tls.certPem);
  const config = [
    tls === undefined
      ? ''
      : targetToml(`tls-${suffix}`, {
          transport: 'tls',
          host: tls.host,
          port: tls.port,
          server_name: 'localhost',
          ca_file: caFile,
          connect_timeout_ms: 3000,
        }),
    iroh === undefined
      ? ''
      : targetToml(`iroh-${suffix}`, {
          transport: 'iroh',
          endpoint_id: iroh.endpointId,
          iroh_ip_addr: iroh.address,
          connect_timeout_ms: 3000,
          iroh_ssh_auth: options.iroh?.allowedKeys !== undefined,
        }),
  ];
  return { embedded, config: config.join('\n') };
}

const clientAt = async (path: string, options?: TestClientOptions): Promise<TestClient> =>
  new TestClient(await connected(path), options);

async function noneLeft(bmuxd: Bmuxd, embedded: Embedded): Promise<void> {
  await waitFor('all streams to be over', async () => (await bmuxd.status()).streams === 0);
  await waitFor('the server to hold no more than our spares', async () => {
    const { upstreams } = await bmuxd.status();
    const spares = upstreams.reduce((sum, row) => sum + row.connections, 0);
    return (await embedded.status()).connections <= spares;
  });
}

/** The tests for one target, which leads to a server of this epoch. */
async function speaks(
  t: Test,
  bmuxd: Bmuxd,
  embedded: Embedded,
  target: string,
  epoch: Epoch,
): Promise<void> {
  const path = targetSocketPath(bmuxd, target);
  await targetSocketIs(true, path);
  const other: Epoch = epoch === 4 ? 3 : 4;

  await t.test('Hello, requests, data in both directions, and the end', async (t) => {
    for (const round of ['first contact', 'again', 'once more']) {
      const client = await clientAt(path, {
        epoch,
        clientName: `target sockets ${round}`,
        principalId: '5f0c6c1e-9d2b-4f8e-8a53-0c5d3a1f7e11',
      });
      const { wireEpoch, capabilities } = await client.hello();
      t.equal(wireEpoch, epoch, round);
      t.ok(capabilities.length > 0);
      await client.ping();
      t.equal(
        (await client.whoAmI()).principalId,
        '5f0c6c1e-9d2b-4f8e-8a53-0c5d3a1f7e11',
        'the principal of the client',
      );
      t.equal((await client.serverStatus()).type, 'server_status');
      await client.close();
    }
    const up = await clientAt(path, { epoch });
    await up.hello();
    t.same(await up.sink(3_000_000), { count: 3_000_000, badAt: null });
    const down = await clientAt(path, { epoch });
    await down.hello();
    await down.source(3_000_000);
  });

  await t.test('Hello and the next request in one write', async (t) => {
    const client = await clientAt(path, { epoch });
    const hello = encodeRequestFrame(epoch, 77n, client.helloRequest());
    const status = encodeRequestFrame(epoch, 78n, { type: 'server_status' });
    client.stream.write(Buffer.concat([hello, status]));
    t.equal((await client.response(77n)).type, 'hello_negotiated', 'with the request id of the client');
    t.equal((await client.response(78n)).type, 'server_status');
    await client.close();
  });

  await t.test('a Hello that is sent byte by byte', async (t) => {
    const client = await clientAt(path, { epoch });
    const hello = encodeRequestFrame(epoch, 5n, client.helloRequest());
    for (const byte of hello) {
      client.stream.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal((await client.response(5n)).type, 'hello_negotiated');
    await client.close();
  });

  await t.test('a client of the other epoch gets a refusal in its own epoch', async (t) => {
    const client = await clientAt(path, { epoch: other });
    const id = client.send(client.helloRequest());
    t.match(await client.response(id), {
      type: 'hello_incompatible',
      reason: { type: 'wire_epoch_mismatch', client: other, server: epoch },
    });
    await client.close();
    const refused = (await eventsOf(bmuxd)).filter(({ type }) => type === 'stream refused').at(-1);
    t.match(refused, { target, code: 'wire_epoch_mismatch' });
  });

  await t.test('a first request other than Hello is answered as by the server', async (t) => {
    const client = await clientAt(path, { epoch });
    const answer = client.request({ type: 'ping' }).then(
      (response) => response.type,
      () => 'the end',
    );
    const direct = await clientAt(embedded.socketPath, { epoch });
    const expected = direct.request({ type: 'ping' }).then(
      (response) => response.type,
      () => 'the end',
    );
    t.equal(await answer, await expected);
    for (const one of [client, direct]) one.stream.destroy();
  });

  await t.test('many clients, some of which are destroyed, hold no connections', async (t) => {
    const load = startLoad(path, 6, { epoch });
    await load.more(60);
    await load.stop();
    t.same(load.failures, []);
    for (const state of ['connected', 'greeting', 'greeted', 'sending']) {
      const client = await clientAt(path, { epoch });
      client.stream.on('error', () => undefined);
      if (state === 'greeting') client.send(client.helloRequest());
      if (state === 'greeted' || state === 'sending') await client.hello();
      if (state === 'sending') client.stream.write(Buffer.alloc(100_000));
      client.stream.destroy();
    }
    await noneLeft(bmuxd, embedded);
    t.pass('every connection has ended');
  });
}

t.test('target sockets over TLS and iroh, with servers of both epochs', async (t) => {
  const agent: RealAgent | undefined = hasSshAgent() ? await startAgent() : undefined;
  if (agent !== undefined) t.teardown(() => agent.stop());
  else t.comment('ssh-agent not found: iroh with SSH auth is not tested');
  const allowedKeys = agent === undefined ? undefined : [await agent.addKey('ed25519', 'target sockets')];
  const v4 = await launch(t, 'v4', {
    server: { epoch: 4 },
    tls: { compression: 'zstd' },
    iroh: { relays: 'disabled', compression: 'zstd' },
  });
  const v3 = await launch(t, 'v3', {
    server: { epoch: 3 },
    tls: { compression: 'none' },
    iroh: { relays: 'disabled', compression: 'none', ...(allowedKeys === undefined ? {} : { allowedKeys }) },
  });
  const bmuxd = await startBmuxd({
    config: `${v4.config}${v3.config}`,
    env: agent === undefined ? {} : { SSH_AUTH_SOCK: agent.socket },
  });
  t.teardown(() => bmuxd.stop());
  for (const [suffix, { embedded }, epoch] of [
    ['v4', v4, 4],
    ['v3', v3, 3],
  ] as const) {
    for (const transport of ['tls', 'iroh']) {
      const target = `${transport}-${suffix}`;
      await t.test(target, (t) => speaks(t, bmuxd, embedded, target, epoch));
    }
  }

  await t.test(
    'bmuxd env and clients fail when the server is gone, although the target was warm',
    async (t) => {
      // The connection to the gateway still works, and the Hello is cached. bmuxd env must wait for an answer of the server.
      await targetSocketEnv(bmuxd, 'iroh-v4');
      await v4.embedded.command({ do: 'stop-server' });
      const early = await bmuxd.bmuxd(['env', 'iroh-v4']);
      t.match(early, { status: 1, stdout: 'false\n', stderr: /server connection lost unexpectedly/ });
      await targetSocketEnv(bmuxd, 'iroh-v3');
      await v4.embedded.kill();
      for (const target of ['tls-v4', 'iroh-v4']) {
        const client = await clientAt(targetSocketPath(bmuxd, target));
        client.stream.on('error', () => undefined);
        await t.rejects(
          client.hello().then(() => client.ping()),
          target,
        );
        client.stream.destroy();
        const ran = await bmuxd.bmuxd(['env', target]);
        t.not(ran.status, 0);
        const failed = / (unreachable|connect timed out)|unreachable: |no answer to the Hello/;
        t.match(ran, { stdout: 'false\n', stderr: failed }, target);
        const { upstreams } = await bmuxd.status();
        const row = upstreams.find((one) => one.target === target);
        t.match(row, { state: 'failing', lastError: { code: String, detail: String } });
      }
    },
  );
});
