// Tests that spares at a former address of a target end, also for a target that is kept warm, and that its status row goes with its last request.
import { once } from 'node:events';
import { appendFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { UpstreamRow } from '../../daemon/api/answers.ts';
import { defaultContract } from '../../daemon/bmux-ipc/ipc.ts';
import { connected, targetSocketIs, targetSocketPath } from '../target-sockets/target-socket.ts';
import { targetToml } from '../target-sockets/ways.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld } from './far-world.ts';

t.setTimeout(300_000);
// These tests mostly wait, so they can run at the same time.
t.jobs = 2;
/** Time limit, ms: the daemon checks a target with warm = true every 15 s. */
const LOOKED_AFTER_MS = 45_000;
const SETTINGS = '[warmth]\nspare_ttl = 2\n[targets.far]\nwarm = true\n';

t.test('a target gets another address, and is then removed', { buffered: true }, async (t) => {
  const { bmuxd, tls, caFile } = await startFarWorld(t, { connectTimeoutMs: 8000, settings: SETTINGS });
  const next = await launchEmbedded({
    socketPath: join(bmuxd.folder, 'next.sock'),
    server: { epoch: 4 },
    tls: { compression: 'zstd', roundTripMs: 30 },
  });
  t.teardown(() => next.stop());
  const held = async (server: Embedded): Promise<number> => (await server.status()).connections;
  await waitFor('a spare', async () => (await held(tls)) > 0, LOOKED_AFTER_MS);
  await appendFile(caFile, next.tls?.certPem ?? '');
  const { host, port } = next.tls ?? {};
  const far = { transport: 'tls', host, port, server_name: 'localhost', ca_file: caFile };
  await bmuxd.configure('bmux.toml', targetToml('far', far));
  await waitFor('a spare at the next server', async () => (await held(next)) > 0, LOOKED_AFTER_MS);
  await waitFor('no spare at the former server', async () => (await held(tls)) === 0, LOOKED_AFTER_MS);
  await bmuxd.configure('bmux.toml', '');
  await waitFor('no spare of the removed target', async () => (await held(next)) === 0, LOOKED_AFTER_MS);
});

t.test(
  'spares end when the CA file is replaced, and when their kind of client does not come again',
  { buffered: true },
  async (t) => {
    const { bmuxd, tls, caFile, row, ask } = await startFarWorld(t, {
      connectTimeoutMs: 8000,
      settings: SETTINGS,
    });
    await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0, LOOKED_AFTER_MS);
    const { revisions, capabilities } = defaultContract(4);
    const other = { epoch: 4, revisions, capabilities: capabilities.slice(0, -1) } as const;
    const { stream } = await bmuxd.open({ target: 'far', contract: other });
    stream.on('error', () => undefined).resume();
    stream.end();
    await waitFor(
      'a spare for the client with another contract',
      async () => ((await row('far'))?.spares ?? 0) > 1,
    );
    for (let i = 0; i < 3; i += 1) {
      await appendFile(caFile, '\n');
      await ask('far');
    }
    const one = async (): Promise<boolean> => (await tls.status()).connections === 1;
    await waitFor('one spare, made with the current CA file', one, LOOKED_AFTER_MS);
    t.equal((await ask('far')).warm, true);
    await writeFile(caFile, 'no certificate');
    const failing = async (): Promise<boolean> => (await row('far'))?.state === 'failing';
    await waitFor('the target to fail without a usable CA file', failing, LOOKED_AFTER_MS);
    t.match(await row('far'), { spares: 0, connections: 0 });
  },
);

t.test('a request that fails after its target got another address leaves no status row', async (t) => {
  const { bmuxd, tls, caFile } = await startFarWorld(t, { connectTimeoutMs: 8000 });
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  t.teardown(() => silent.close());
  await once(silent, 'listening');
  const leads = (port: number | undefined): Promise<void> => {
    const fields = { host: '127.0.0.1', port, server_name: 'localhost', ca_file: caFile };
    const toml = targetToml('moves', { transport: 'tls', ...fields, connect_timeout_ms: 2000 });
    return bmuxd.configure('bmux.toml', toml);
  };
  const rows = async (): Promise<UpstreamRow[]> =>
    (await bmuxd.upstreams()).filter(({ target }) => target === 'moves');
  await leads((silent.address() as AddressInfo).port);
  await targetSocketIs(true, targetSocketPath(bmuxd, 'moves'));
  const waits = t.rejects(new TestClient(await connected(targetSocketPath(bmuxd, 'moves'))).hello());
  await waitFor('the request to be under way', async () => (await rows()).length === 1);
  await leads(tls.tls?.port);
  await waitFor('the target to have another address', async () => (await rows()).length === 2);
  await waits;
  await waitFor('the row of the former address to be removed', async () => (await rows()).length === 1);
  t.match(await rows(), [{ address: new RegExp(`:${String(tls.tls?.port)}/`), state: 'cold' }]);
});
