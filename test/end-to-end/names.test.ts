// Tests two servers behind one host and port that differ by the server name in the TLS handshake: the cached Hello of one is not used for the other.
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { defaultContract } from '../../daemon/bmux-ipc/ipc.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { targetToml } from '../target-sockets/ways.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded } from '../embedded/launch.ts';

t.test('requests to both servers in turn get the answers of their own server', async (t) => {
  const bmuxd = await startBmuxd();
  const launch = (name: string, capabilities: readonly string[]) =>
    launchEmbedded({
      socketPath: join(bmuxd.folder, `${name}.sock`),
      server: { epoch: 4, capabilities },
      tls: { compression: 'zstd' },
    });
  const { capabilities } = defaultContract(4);
  const named = await launch('named', capabilities);
  const other = await launch('other', capabilities.slice(0, -1));
  const proxy = createServer({ allowHalfOpen: true }, (near) => {
    near.on('error', () => undefined);
    near.once('data', (hello: Buffer) => {
      const port = (hello.includes('localhost') ? named : other).tls?.port ?? 0;
      const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      far.on('error', () => undefined);
      far.write(hello);
      near.pipe(far);
      far.pipe(near);
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    await bmuxd.stop();
    proxy.close();
    await Promise.all([named.stop(), other.stop()]);
  });
  const caFile = join(bmuxd.folder, 'ca.pem');
  await writeFile(caFile, `${named.tls?.certPem ?? ''}${other.tls?.certPem ?? ''}`);
  const { port } = proxy.address() as AddressInfo;
  const target = (name: string, serverName: string): string =>
    targetToml(name, {
      transport: 'tls',
      host: '127.0.0.1',
      port,
      server_name: serverName,
      ca_file: caFile,
      connect_timeout_ms: 8000,
    });
  await bmuxd.configure('bmux.toml', target('a', 'localhost') + target('b', '127.0.0.1'));
  for (let turn = 0; turn < 3; turn += 1) {
    for (const [name, count] of [
      ['a', capabilities.length],
      ['b', capabilities.length - 1],
    ] as const) {
      const { stream, info } = await bmuxd.open({ target: name });
      t.equal(info.negotiated.capabilities.length, count, `${name}, turn ${String(turn)}`);
      const client = new TestClient(stream, { epoch: info.epoch });
      await client.ping();
      stream.end();
      await client.ended();
    }
  }
  t.notMatch(bmuxd.log(), /optimistic open failed/);
});
