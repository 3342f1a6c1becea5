// Tests every transport to a real server through the real daemon: Hello, Ping and ServerStatus are answered, and all connections are freed.
import { dirname, join } from 'node:path';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import t, { type Test } from 'tap';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import {
  canCountConnections,
  hasSshAgent,
  connectionsHeld,
  realBmux,
  realRelay,
  startAgent,
  startIrohGateway,
  startRelay,
  sshdMissing,
  startServer,
  startSshd,
  startTlsGateway,
  waitFor,
  type RealServer,
  type RealSshd,
} from '../real/index.ts';
import { bmuxOrThrow } from '../real/server.ts';
import { sshToml } from '../target-sockets/ways.ts';
import { processesWith } from '../transport/ssh/rig.ts';

const noBmux = realBmux() === undefined && 'real bmux not found';
const noRelay = realRelay() === undefined && 'real iroh-relay not found';
/** Ping is request 2 of epoch 4: `05000000 04 02 00 01 01` (docs/bmux-protocol.md, "Example frames"). */
const PING = Buffer.from('050000000402000101', 'hex');
const PONG = Buffer.from('06000000040201020000', 'hex');

/** Clients killed in the middle of a stream, per transport. Almost all of a server's 64 connections would be gone if each cost one. */
const KILLED = 50;

async function speaks(
  t: Test,
  bmuxd: Bmuxd,
  target: string,
  env: Record<string, string> = {},
): Promise<void> {
  const { stream, info } = await bmuxd.open({ target, env: { ...bmuxd.env, ...env } });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  const status = await client.serverStatus();
  t.equal(status.running, true, `${target}: ServerStatus is answered`);
  stream.end();
  await client.ended();
  const ran = await bmuxd.shim([target], PING, env);
  t.same(
    { status: ran.status, pong: ran.stdout.equals(PONG) },
    { status: 0, pong: true },
    `${target}: bmux-stream passes on a Ping and its answer`,
  );
}

/** Kills shims in the middle of their streams, and waits until the server's connections are freed. */
async function survivesKills(t: Test, bmuxd: Bmuxd, server: RealServer, target: string): Promise<void> {
  const before = await connectionsHeld(server);
  for (let round = 0; round < KILLED / 10; round += 1) {
    const shims = Array.from({ length: 10 }, () => bmuxd.spawnShim([target]));
    await Promise.all(
      shims.map(
        (shim) =>
          new Promise<void>((resolve) => {
            shim.stdout?.once('data', () => {
              resolve();
            });
            shim.stdin?.on('error', () => undefined);
            shim.stdin?.write(PING);
          }),
      ),
    );
    for (const shim of shims) shim.kill('SIGKILL');
  }
  await waitFor('the connections to be freed', async () => {
    const rows = await bmuxd.upstreams();
    const spares = rows.reduce((sum, row) => sum + row.connections, 0);
    return rows.every(({ streams }) => streams === 0) && (await connectionsHeld(server)) - spares <= before;
  });
  t.pass(`${target}: ${String(KILLED)} killed clients hold no connection`);
}

/** An sshd that leads to `server`, by the name `alias` too, with bmux on the PATH there; undefined without one. */
async function startSshdTo(server: RealServer): Promise<RealSshd | undefined> {
  if (sshdMissing() !== false) return undefined;
  const path = `${dirname(bmuxOrThrow())}:/usr/bin:/bin`;
  const sshd = await startSshd({ env: { ...server.env, PATH: path } });
  await sshd.alias('alias');
  return sshd;
}

t.test('a real server is reached over every transport', { skip: noBmux, timeout: 150_000 }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const compressed = await startTlsGateway(server);
  t.teardown(() => compressed.stop());
  const plain = await startTlsGateway(server, { compression: 'none' });
  t.teardown(() => plain.stop());
  const iroh = await startIrohGateway(server);
  t.teardown(() => iroh.stop());
  const tls = (name: string, gateway: typeof plain): string =>
    `[connections.targets.${name}]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(gateway.port)}\nserver_name = "localhost"\nca_file = "${gateway.caFile}"\n`;
  const irohTarget = (name: string, gateway: typeof iroh, auth: boolean): string =>
    `[connections.targets.${name}]\ntransport = "iroh"\nendpoint_id = "${gateway.endpointId}"\niroh_ip_addr = "${gateway.ipAddr}"\niroh_ssh_auth = ${String(auth)}\n`;
  const sshd = await startSshdTo(server);
  if (sshd === undefined) t.comment('sshd not found: SSH is not tested');
  else t.teardown(() => sshd.stop());
  const config = [tls('compressed', compressed), tls('plain', plain), irohTarget('iroh', iroh, false)]
    .concat(sshd === undefined ? [] : [sshToml('ssh', sshd)])
    .join('');
  const env = {
    BMUX_RUNTIME_DIR: server.env['BMUX_RUNTIME_DIR'] ?? '',
    ...(sshd && { PATH: sshd.path }),
  };
  const bmuxd = await startBmuxd({ config, env });
  t.teardown(() => bmuxd.stop());

  const inline = sshd === undefined ? [] : ['ssh', 'ssh://alias', `${userInfo().username}@alias`];
  for (const target of ['local', 'compressed', 'plain', 'iroh', iroh.url, ...inline])
    await speaks(t, bmuxd, target);

  t.test('SSH auth', { skip: !hasSshAgent() && 'ssh-agent not found' }, async (t) => {
    for (const type of ['ed25519', 'rsa'] as const) {
      const agent = await startAgent();
      t.teardown(() => agent.stop());
      const gateway = await startIrohGateway(server, { sshAuth: [await agent.addKey(type, `${type} test`)] });
      t.teardown(() => gateway.stop());
      await bmuxd.configure(
        'bmux.toml',
        config + irohTarget(type, gateway, true) + irohTarget('unsaid', gateway, false),
      );
      await speaks(t, bmuxd, type, { SSH_AUTH_SOCK: agent.socket });
      const without = await bmuxd.shim([type], PING, { SSH_AUTH_SOCK: '' });
      t.equal(
        without.status,
        6,
        `${type}: a caller without the key does not get the warm connection of one that has it`,
      );
      t.match(without.stderr, /^iroh SSH auth handshake failed/, 'and the reason is printed');
    }
  });

  t.test(
    'connections of killed clients are freed',
    { skip: !canCountConnections() && 'ss not found: connections cannot be counted' },
    async (t) => {
      for (const target of ['local', 'compressed', 'iroh']) await survivesKills(t, bmuxd, server, target);
      if (sshd === undefined) return;
      await survivesKills(t, bmuxd, server, 'ssh');
      await waitFor('a session for each spare, and the masters', async () => {
        const lines = (await processesWith(join(bmuxd.folder, 'd', 'ssh'))).map(({ line }) => line);
        const masters = lines.filter((line) => line.includes('ControlMaster=yes')).length;
        const spares = (await bmuxd.upstreams()).reduce((sum, row) => sum + row.spares, 0);
        return lines.length - masters <= spares;
      });
    },
  );
});

t.test('a server is reached through a relay', { skip: noRelay, timeout: 150_000 }, async (t) => {
  const relay = await startRelay();
  t.teardown(() => relay.stop());
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-embedded-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const iroh = { relays: [relay.url], compression: 'zstd' } as const;
  const embedded = await launchEmbedded({
    socketPath: join(folder, 'server.sock'),
    server: { epoch: 4 },
    iroh,
  });
  t.teardown(() => embedded.stop());
  const urlOf = ({ iroh }: Embedded): string => `iroh://${iroh?.endpointId ?? ''}?relay=${relay.url}`;
  const bmuxd = await startBmuxd({ settings: `[iroh]\nrelays = ["${relay.url}"]\n` });
  t.teardown(() => bmuxd.stop());
  await speaks(t, bmuxd, urlOf(embedded));

  const noCount = canCountConnections() ? noBmux : 'ss not found: connections cannot be counted';
  t.test('connections of killed clients are freed', { skip: noCount }, async (t) => {
    const server = await startServer();
    t.teardown(() => server.stop());
    const gateway = await launchEmbedded({ socketPath: server.socketPath, iroh });
    t.teardown(() => gateway.stop());
    await survivesKills(t, bmuxd, server, urlOf(gateway));
  });
});
