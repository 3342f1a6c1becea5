// Tests remotes that fall silent while connections to them are warm. Requests fail within their time limits and with a reason. When the path is
// back, the next request is answered over a new connection.
import t, { type Test } from 'tap';
import { Failure } from '../../client-shim/index.ts';
import { eventsOf } from '../target-sockets/target-socket.ts';
import { TestClient } from '../embedded/client.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { targetToml } from '../target-sockets/ways.ts';
import {
  halt,
  hasSshAgent,
  realBmux,
  startAgent,
  startIrohGateway,
  startServer,
  startTlsGateway,
  waitFor,
} from '../real/index.ts';
import type { UpstreamRow } from '../../daemon/api/answers.ts';
import { startFarWorld, type FarWorld } from './far-world.ts';

const noBmux = realBmux() === undefined && 'real bmux not found';
const CONNECT_TIMEOUT_MS = 3000;
/** ms that a busy machine may add to a time limit. */
const BUSY_MS = 5000;

type Reachable = Pick<FarWorld, 'bmuxd' | 'row'>;

/** Makes a request while the path is gone. It must fail with an error code within the target's time limit. */
async function refused(t: Test, { bmuxd }: Reachable, target: string): Promise<void> {
  const since = performance.now();
  const error: unknown = await bmuxd.open({ target }).then(
    ({ stream }) => stream.destroy(),
    (why: unknown) => why,
  );
  t.ok(error instanceof Failure, `${target}: fails with an error code`);
  t.match(error instanceof Failure ? error.code : '', /timeout|out_of_time|unreachable/);
  t.ok(performance.now() - since < CONNECT_TIMEOUT_MS + BUSY_MS, 'within its time limit');
}

/** Opens a stream on a warm connection right after the path was cut. Nothing comes from the server, and the stream must end. */
async function ends(t: Test, { bmuxd }: Reachable, target: string): Promise<void> {
  const since = performance.now();
  try {
    const { stream, info } = await bmuxd.open({ target });
    const client = new TestClient(stream, { epoch: info.epoch, limitMs: 60_000 });
    await t.rejects(client.ping(), `${target}: the Ping is not answered`);
    stream.destroy();
  } catch (error) {
    t.ok(error instanceof Failure, `${target}: or the request fails with an error code`);
  }
  // The answer to the Hello may take 1 s. A request that may be repeated is then tried on a new stream, for the target's whole time limit.
  t.ok(performance.now() - since < 1000 + CONNECT_TIMEOUT_MS + BUSY_MS, 'the stream does not hang');
}

/** Whether a request for a stream succeeds. On a warm connection it does until the silence is noticed. */
async function isAnswered({ bmuxd }: Reachable, target: string): Promise<boolean> {
  try {
    const { stream } = await bmuxd.open({ target });
    stream.on('error', () => undefined).destroy();
    return true;
  } catch {
    return false;
  }
}

async function answeredAnew(t: Test, world: Reachable, target: string): Promise<void> {
  const { stream, info } = await world.bmuxd.open({ target });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  t.pass(`${target}: the first request after the path is back is answered`);
  stream.end();
  await client.ended();
  t.match(await world.row(target), { streams: 0 });
}

t.test('TLS', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const { row, tls } = world;
  await world.ask('far');
  await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
  await tls.command({ do: 'blackhole' });
  // A spare that was checked a moment ago is still handed out, and the stream then fails.
  await ends(t, world, 'far');
  await waitFor('the dead spares to be noticed', async () => (await row('far'))?.spares === 0);
  await refused(t, world, 'far');
  t.match(await row('far'), { state: 'failing', lastError: { class: 'timeout' } });
  await tls.command({ do: 'restore' });
  await answeredAnew(t, world, 'far');
  t.match(await row('far'), { failingSinceMs: undefined });
});

t.test('a ping over a warm connection whose path is gone tells why the target is away', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const { row, tls, bmuxd } = world;
  await world.ask('far');
  await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
  await tls.command({ do: 'blackhole' });
  const { status, stderr } = await bmuxd.bmuxd(['ping', 'far']);
  t.not(status, 0, stderr);
  t.match(stderr, 'bmuxd: the warm connection does not answer, a new one is tried\n');
  t.match(stderr, '[tls_handshake_timeout]', 'the reason is that of a new connection');
  t.notMatch(stderr, '[stream_lost]');
});

t.test('iroh', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const { row, iroh, bmuxd } = world;
  await world.ask('home');
  t.match(await row('home'), { state: 'warm' });
  const { connections = 0 } = (await iroh.status()).iroh ?? {};
  await halt(iroh.pid);
  t.teardown(() => process.kill(iroh.pid, 'SIGCONT'));
  await ends(t, world, 'home');
  await waitFor('the loss to be noticed', async () => (await row('home'))?.warm === false);
  await refused(t, world, 'home');
  await waitFor('an event for the loss', async () =>
    (await eventsOf(bmuxd)).some(({ type }) => type === 'connection lost'),
  );
  process.kill(iroh.pid, 'SIGCONT');
  await answeredAnew(t, world, 'home');
  t.ok(((await iroh.status()).iroh?.connections ?? 0) > connections, 'over a new connection');
});

t.test('the status shows that a target is being connected to', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const { row, tls } = world;
  await tls.command({ do: 'blackhole' });
  const asked = refused(t, world, 'far');
  await waitFor('the status to show it', async () => (await row('far'))?.state === 'connecting');
  await asked;
  t.match(await row('far'), { state: 'failing' });
});

/** Row of a target in the status of a daemon that was not started by `startFarWorld`. */
const rowOf = async (bmuxd: Bmuxd, target: string): Promise<UpstreamRow | undefined> =>
  (await bmuxd.upstreams()).find((row) => row.target === target);

t.test(
  'real gateways that fall silent under a warm connection',
  { skip: noBmux, timeout: 150_000 },
  async (t) => {
    const server = await startServer();
    t.teardown(() => server.stop());
    const gateways = {
      compressed: await startTlsGateway(server),
      plain: await startTlsGateway(server, { compression: 'none' }),
      iroh: await startIrohGateway(server),
    };
    const agent = hasSshAgent() ? await startAgent() : undefined;
    t.teardown(() => agent?.stop());
    const guarded =
      agent === undefined
        ? undefined
        : await startIrohGateway(server, { sshAuth: [await agent.addKey('ed25519', 'black hole')] });
    const all = { ...gateways, ...(guarded === undefined ? {} : { guarded }) };
    t.teardown(async () => {
      for (const gateway of Object.values(all)) await gateway.stop();
    });
    const common = { connect_timeout_ms: CONNECT_TIMEOUT_MS };
    const config = Object.entries(all).map(([name, gateway]) =>
      targetToml(
        name,
        'endpointId' in gateway
          ? {
              ...common,
              transport: 'iroh',
              endpoint_id: gateway.endpointId,
              iroh_ip_addr: gateway.ipAddr,
              iroh_ssh_auth: name === 'guarded',
            }
          : {
              ...common,
              transport: 'tls',
              host: gateway.host,
              port: gateway.port,
              server_name: gateway.serverName,
              ca_file: gateway.caFile,
            },
      ),
    );
    const bmuxd = await startBmuxd({
      config: config.join(''),
      settings: 'iroh.relays = "disabled"\n',
      env: {
        BMUX_RUNTIME_DIR: server.env['BMUX_RUNTIME_DIR'] ?? '',
        ...(agent === undefined ? {} : { SSH_AUTH_SOCK: agent.socket }),
      },
    });
    t.teardown(() => bmuxd.stop());
    const world = { bmuxd, row: (target: string) => rowOf(bmuxd, target) };
    const fallsSilent = async (name: string, pid: number): Promise<void> => {
      await answeredAnew(t, world, name);
      await answeredAnew(t, world, name);
      await halt(pid);
      try {
        await ends(t, world, name);
        await waitFor('a request to be refused', async () => !(await isAnswered(world, name)), 30_000);
        await refused(t, world, name);
        t.match(await world.row(name), { state: 'failing' }, `${name}: the status shows the failure`);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await answeredAnew(t, world, name);
    };
    await Promise.all(Object.entries(all).map(([name, { pid }]) => fallsSilent(name, pid)));
  },
);
