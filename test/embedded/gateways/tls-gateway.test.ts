// The embedded TLS gateway behaves like the real one, including its flaws. Where the real one is installed, both run the same tests.
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { compressed } from '../../../daemon/compression/stream.ts';
import { defaultContract, encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import * as real from '../../real/index.ts';
import { TestClient } from '../client.ts';
import { EmbeddedServer } from '../server/server.ts';
import { startTlsGateway, type TlsGateway, type TlsGatewayOptions } from './tls-gateway.ts';

interface Pair {
  readonly server: EmbeddedServer;
  readonly gateway: TlsGateway;
}

async function start(t: Test, options: Partial<TlsGatewayOptions> = {}): Promise<Pair> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-embedded-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'server.sock');
  const server = await EmbeddedServer.start({ socketPath, epoch: 4 });
  t.teardown(() => server.stop());
  const gateway = await startTlsGateway({ socketPath, compression: 'none', ...options });
  t.teardown(() => gateway.stop());
  return { server, gateway };
}

interface Dialled {
  readonly tcp: Socket;
  readonly tls: TLSSocket;
}

interface Address {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
}

const addressOf = (gateway: TlsGateway): Address => ({ ...gateway, ca: gateway.certificate.certPem });

/** The certificate is its own trust anchor. The test owns the TCP socket, so that it can cut it without a close_notify. */
async function dial(t: Test, address: Address, options: ConnectionOptions = {}): Promise<Dialled> {
  const tcp = connectTcp({ host: address.host, port: address.port, allowHalfOpen: true });
  t.teardown(() => tcp.destroy());
  const tls = connect({ socket: tcp, ca: address.ca, servername: 'localhost', ...options });
  t.teardown(() => tls.destroy());
  tls.on('error', () => undefined);
  await once(tls, 'secureConnect');
  return { tcp, tls };
}

t.test('bytes are exact both ways, in both modes, and half-close holds', async (t) => {
  for (const compression of ['none', 'zstd'] as const) {
    const { server, gateway } = await start(t, { compression });
    const greet = async (): Promise<TestClient> => {
      const { tls } = await dial(t, addressOf(gateway));
      const client = new TestClient(compression === 'zstd' ? compressed(tls) : tls);
      await client.hello();
      return client;
    };
    const size = 3_000_001;
    await (await greet()).source(size);
    t.strictSame(await (await greet()).sink(size), { count: size, badAt: null }, compression);
    const client = await greet();
    await client.raw({ type: 'echo' });
    client.stream.end('the final bytes');
    t.equal((await client.ended()).toString(), 'the final bytes', 'an answer after our end');
    await real.waitFor('every place to be free', () => server.connections() === 0 && gateway.streams() === 0);
    t.equal(gateway.stats().truncated, 0);
  }
});

t.test('TLS 1.2 and 1.3, the names of the certificate, and nobody else’s trust', async (t) => {
  const { gateway } = await start(t);
  const address = addressOf(gateway);
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { tls } = await dial(t, address, { minVersion: version, maxVersion: version });
    t.equal(tls.getProtocol(), version);
    t.equal(
      `SHA256:${tls.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase() ?? ''}`,
      gateway.certificate.fingerprint,
    );
  }
  const certificate = new X509Certificate(gateway.certificate.certPem);
  t.equal(certificate.checkHost('localhost'), 'localhost');
  for (const ip of ['127.0.0.1', '::1']) t.equal(certificate.checkIP(ip), ip);
  const other = connect({ host: address.host, port: address.port, servername: 'localhost' });
  t.teardown(() => other.destroy());
  t.match(await once(other, 'secureConnect').catch((error: unknown) => error), { code: /SELF_SIGNED/ });
});

t.test('a stream without a server behind the gateway ends after the handshake', async (t) => {
  const { server, gateway } = await start(t);
  await server.stop();
  const { tls } = await dial(t, addressOf(gateway));
  await new TestClient(tls).ended();
  await real.waitFor('the stream to be gone', () => gateway.streams() === 0);
});

/** The same tests for the embedded gateway and the real one. `held`: connections at the server. */
async function flaws(t: Test, address: Address, held: () => number | Promise<number>): Promise<void> {
  const heldBecomes = (count: number): Promise<void> =>
    real.waitFor(`${count} connections at the server`, async () => (await held()) === count);
  // A gateway that has just started may have checked whether its server exists.
  await heldBecomes(0);
  const ping = encodeRequestFrame(3, 2n, { type: 'ping' });
  const helloV3 = encodeRequestFrame(3, 1n, {
    type: 'hello',
    contract: defaultContract(3),
    clientName: 'old',
    principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
  });

  const proper = await dial(t, address);
  const client = new TestClient(proper.tls);
  await client.hello();
  await client.close();
  await heldBecomes(0);
  t.pass('a close_notify gives the place back');

  const refused = await dial(t, address);
  const old = new TestClient(refused.tls);
  old.stream.write(helloV3);
  t.equal((await old.ended()).length, 0, 'a refused Hello is an end');
  old.stream.end();

  const rude = await dial(t, address);
  await new TestClient(rude.tls).hello();
  rude.tcp.end();
  await heldBecomes(1);
  t.pass('a FIN without close_notify loses the place');

  const cut = await dial(t, address);
  await new TestClient(cut.tls).hello();
  cut.tcp.resetAndDestroy();
  await heldBecomes(2);
  t.pass('so does a reset');

  const pipelined = await dial(t, address);
  const silent = new TestClient(pipelined.tls, { limitMs: 400 });
  silent.stream.write(Buffer.concat([helloV3, ping]));
  await t.rejects(silent.ended(), /no end within/, 'a refusal with bytes unread is silence');
  silent.stream.write(ping);
  await real.waitFor('its end', () => pipelined.tls.readableEnded || pipelined.tls.destroyed);
  t.pass('and ends with the next byte');
}

t.test('its flaws', async (t) => {
  const { server, gateway } = await start(t);
  await flaws(t, addressOf(gateway), () => server.connections());
  t.equal(gateway.stats().truncated, 1);
  await real.waitFor('only the lost ones to stay', () => gateway.streams() === 2);
  await gateway.stop();
  await real.waitFor('the end of the gateway to free them', () => server.connections() === 0);
});

const skip =
  (real.realBmux() === undefined && 'real bmux not found') ||
  (!real.canCountConnections() && 'no ss to count connections');
t.test('the flaws of the real one', { skip }, async (t) => {
  const server = await real.startServer();
  t.teardown(() => server.stop());
  const gateway = await real.startTlsGateway(server, { compression: 'none' });
  t.teardown(() => gateway.stop());
  const ca = await readFile(gateway.caFile, 'utf8');
  await flaws(t, { ...gateway, ca }, () => real.connectionsHeld(server));
});

t.test('a forgiving gateway loses nothing', async (t) => {
  const { server, gateway } = await start(t, { forgiving: true });
  const { tcp, tls } = await dial(t, addressOf(gateway));
  await new TestClient(tls).hello();
  tcp.end();
  await real.waitFor('the place to be free', () => server.connections() === 0);
});
