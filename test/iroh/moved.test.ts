// Tests live streams of the real iroh gateway when an address of this machine goes and another one comes: QUIC migrates them, or they are lost.
// It runs itself in a network of its own: every iroh endpoint of the machine hears of a change, and other tests make some, too.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { textOf } from '../../daemon/base/failure.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { far, realBmux, run, startIrohGateway, startServer, waitFor } from '../real/index.ts';
import type { Far } from '../real/far.ts';
import { targetToml } from '../target-sockets/ways.ts';

const INSIDE = 'BMUXD_TEST_NETWORK';
/** With a second network and a default route: an endpoint without any behaves differently. */
const NETWORK = [
  'ip link set lo up',
  'ip link add own0 type veth peer name own1',
  'ip addr add 192.0.2.2/24 dev own0',
  'ip link set own0 up',
  'ip link set own1 up',
  'ip route add default via 192.0.2.1',
];
const OWN = ['-n', 'sh', '-c', `${NETWORK.join(' && ')} && exec "$@"`, 'sh'];
const missing =
  (realBmux() === undefined && 'real bmux not found') ||
  (spawnSync('unshare', [...OWN, 'true']).status !== 0 && 'needs unshare(1) and its rights');

/** A far host with the real gateway, and a bmuxd that leads to it; undefined where there can be none. */
async function away(t: Test, settings = ''): Promise<{ there: Far; bmuxd: Bmuxd } | undefined> {
  const there = await far(t);
  if (there === undefined) {
    t.pass('# SKIP: a network namespace cannot be made here');
    return undefined;
  }
  const server = await startServer();
  t.teardown(() => server.stop());
  const gateway = await startIrohGateway(server, {}, there);
  t.teardown(() => gateway.stop());
  const { endpointId, ipAddr } = gateway;
  const host = targetToml('host', { transport: 'iroh', endpoint_id: endpointId, iroh_ip_addr: ipAddr });
  const bmuxd = await startBmuxd({ config: host, settings: `iroh.relays = "disabled"\n${settings}` });
  t.teardown(() => bmuxd.stop());
  return { there, bmuxd };
}

async function moved(t: Test): Promise<void> {
  const rig = await away(t);
  if (rig === undefined) return;
  const { there, bmuxd } = rig;
  let isOver = false;
  // Each answer has the number of its request: a byte that is lost or doubled is one too few or too many.
  const talks = Array.from({ length: 4 }, async () => {
    const { stream } = await bmuxd.open({ target: 'host' });
    const client = new TestClient(stream, { limitMs: 60_000 });
    const talk = { pings: 0, ended: Promise.resolve() };
    talk.ended = (async () => {
      for (; !isOver; talk.pings += 1) {
        await client.ping();
        await sleep(20);
      }
      await client.close();
    })();
    return talk;
  });
  const all = await Promise.all(talks);
  const goOn = async (): Promise<void> => {
    const before = all.map(({ pings }) => pings);
    const on = waitFor('all streams to go on', () =>
      all.every(({ pings }, at) => pings > (before[at] ?? 0) + 10),
    );
    await Promise.race([on, Promise.all(all.map(({ ended }) => ended))]);
    await on;
  };
  await goOn();
  await there.move();
  await goOn();
  isOver = true;
  await Promise.all(all.map(({ ended }) => ended));
  t.equal((await bmuxd.upstreams()).find(({ target }) => target === 'host')?.lastError, undefined);
}

/** After two changes and 5 s away, QUIC hears the host, nearly always, and sends nothing of ours any more. */
async function standsStill(t: Test): Promise<void> {
  const rig = await away(t, 'iroh.silence_limit = 10\n');
  if (rig === undefined) return;
  const { there, bmuxd } = rig;
  const { stream } = await bmuxd.open({ target: 'host' });
  let why: string | undefined;
  stream.once('error', (error) => {
    why = textOf(error);
  });
  const client = new TestClient(stream, { limitMs: 120_000 });
  let pings = 0;
  const ended = (async () => {
    for (;;) {
      await client.ping();
      pings += 1;
      await sleep(20);
    }
  })().catch(() => undefined);
  const goesOnOrEnds = (): Promise<void> => {
    const before = pings;
    const isKnown = (): boolean => pings > before + 10 || why !== undefined;
    return waitFor('the stream to go on, or to be lost', isKnown, 90_000);
  };
  await goesOnOrEnds();
  await there.move();
  await goesOnOrEnds();
  await there.move();
  await goesOnOrEnds();
  await there.move(5000);
  await goesOnOrEnds();
  t.comment(why ?? 'it went on');
  if (why !== undefined) t.match(why, /the host has not answered for \d+ s/);
  const again = await bmuxd.open({ target: 'host' });
  await new TestClient(again.stream, { limitMs: 20_000 }).ping();
  t.pass('another stream works');
  again.stream.destroy();
  stream.destroy();
  await ended;
}

async function inItsOwnNetwork(t: Test): Promise<void> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const args = [...OWN, process.execPath, fileURLToPath(import.meta.url)];
  const { status, stdout, stderr } = await run('unshare', args, { ...env, [INSIDE]: '1' }, 240_000);
  t.equal(status, 0, `${stdout}\n${stderr}`);
}

if (process.env[INSIDE] === '1') {
  t.test('the address of this machine changes under live streams', moved);
  t.test('a live stream whose bytes do not leave any more is lost', standsStill);
} else t.test('live streams when an address changes', { skip: missing }, inItsOwnNetwork);
