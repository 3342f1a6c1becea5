// The embedded process reports its addresses, executes commands, and exits with its parent.
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import t, { type Test } from 'tap';
import { compressed } from '../../daemon/compression/stream.ts';
import { isAlive, waitFor } from '../real/index.ts';
import { TestClient } from './client.ts';
import { launchEmbedded, type Embedded } from './launch.ts';
import type { EmbeddedOptions } from './options.ts';

async function launch(t: Test, options: Omit<EmbeddedOptions, 'socketPath'>): Promise<Embedded> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-embedded-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const embedded = await launchEmbedded({ ...options, socketPath: join(folder, 'server.sock') });
  t.teardown(() => embedded.stop());
  return embedded;
}

t.test('server and gateways in one process', async (t) => {
  const embedded = await launch(t, {
    server: { epoch: 4 },
    tls: { compression: 'zstd', roundTripMs: 2 },
    iroh: { relays: 'disabled', compression: 'none' },
  });
  t.match(embedded.iroh, { endpointId: /^[0-9a-f]{64}$/, address: /^127\.0\.0\.1:\d+$/, url: /^iroh:/ });
  const { host = '', port = 0, certPem = '' } = embedded.tls ?? {};
  const tls = connectTls({ host, port, ca: certPem, servername: 'localhost' });
  t.teardown(() => tls.destroy());
  const client = new TestClient(compressed(tls));
  await client.hello();
  t.match(await embedded.status(), { connections: 1, server: { hellos: 1 }, tls: { accepted: 1 } });
  await client.close();

  await embedded.command({ do: 'start-server', server: { epoch: 3 } });
  const local = connect(embedded.socketPath);
  t.teardown(() => local.destroy());
  t.equal(
    (await new TestClient(local, { epoch: 3 }).hello()).wireEpoch,
    3,
    'another server on the same path',
  );
  await embedded.stop();
  t.notOk(isAlive(embedded.pid));
  await t.rejects(embedded.status(), /left: 0/);
});

t.test('SIGTERM ends it, and a wrong start is an error', async (t) => {
  const embedded = await launch(t, { server: { epoch: 'both' } });
  process.kill(embedded.pid, 'SIGTERM');
  await waitFor('its end', () => !isAlive(embedded.pid));
  await t.rejects(launchEmbedded({ server: { epoch: 4 }, socketPath: '/nowhere/server.sock' }), /left: 1/);
});
