// Tests a host name that leads elsewhere now, while the former gateway still runs: its spares are not handed out any more.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { freePort, waitFor } from '../real/index.ts';
import { targetToml } from '../target-sockets/ways.ts';

t.test(
  'the spares of a former address',
  { skip: process.platform !== 'linux' && 'needs 127.0.0.2' },
  async (t) => {
    const sandbox = await makeSandbox({ settings: 'targets.far.spares = 2\ntargets.other.spares = 0\n' });
    t.teardown(() => sandbox.remove());
    const hostFile = join(sandbox.folder, 'host');
    const lead = (address: string): Promise<void> => writeFile(hostFile, address);
    await lead('127.0.0.2');
    const port = await freePort();
    const launch = (host: string) =>
      launchEmbedded({
        socketPath: join(sandbox.folder, `${host}.sock`),
        server: { epoch: 4 },
        tls: { compression: 'zstd', listen: { host, port } },
      });
    const former = await launch('127.0.0.2');
    const next = await launch('127.0.0.3');
    const caFile = join(sandbox.folder, 'ca.pem');
    await writeFile(caFile, `${former.tls?.certPem ?? ''}\n${next.tls?.certPem ?? ''}`);
    const far = { transport: 'tls', host: 'gateway.test', port, server_name: 'localhost', ca_file: caFile };
    await sandbox.configure(
      'bmux.toml',
      targetToml('far', far) + targetToml('other', { ...far, server_name: '127.0.0.1' }),
    );
    const bmuxd = await startBmuxd({
      sandbox: {
        ...sandbox,
        env: {
          ...sandbox.env,
          TEST_HOST: hostFile,
          NODE_OPTIONS: `--import=${new URL('../daemon/hosts.js', import.meta.url).href}`,
        },
      },
    });
    t.teardown(async () => {
      await bmuxd.stop();
      await Promise.all([former.stop(), next.stop()]);
    });
    const spares = async (): Promise<number> =>
      (await bmuxd.upstreams()).reduce((sum, row) => sum + row.spares, 0);
    const held = async (server: typeof former): Promise<number> => (await server.status()).connections;
    const ask = async (target: string): Promise<void> => {
      const { stream } = await bmuxd.open({ target });
      stream.end();
      stream.resume();
    };
    await ask('far');
    await waitFor(
      'spares at the former address',
      async () => (await spares()) > 0 && (await held(former)) > 0,
    );
    const before = (await former.status()).tls?.accepted;
    await lead('127.0.0.3');
    await ask('other');
    t.ok(((await next.status()).tls?.accepted ?? 0) > 0, 'a dial leads to the new address');
    // A live stream at the former address would hold its connection.
    const { stream } = await bmuxd.open({ target: 'far' });
    t.teardown(() => stream.destroy());
    await waitFor(
      'the stream and the spares to be at the new address',
      async () => (await held(former)) === 0 && (await spares()) > 0,
    );
    t.equal((await former.status()).tls?.accepted, before, 'nothing more at the former address');
  },
);
