// Tests that live streams of the real iroh gateway go on when an address of this machine goes and another one comes: QUIC migrates them.
// It runs itself in a network of its own: every iroh endpoint of the machine hears of a change, and other tests make some, too.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { far, realBmux, run, startIrohGateway, startServer, waitFor } from '../real/index.ts';
import { targetToml } from '../target-sockets/ways.ts';

const INSIDE = 'BMUXD_TEST_NETWORK';
const OWN = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
const missing =
  (realBmux() === undefined && 'real bmux not found') ||
  (spawnSync('unshare', [...OWN, 'true']).status !== 0 && 'needs unshare(1) and its rights');

async function moved(t: Test): Promise<void> {
  const there = await far(t);
  if (there === undefined) {
    t.pass('# SKIP: a network namespace cannot be made here');
    return;
  }
  const server = await startServer();
  t.teardown(() => server.stop());
  const gateway = await startIrohGateway(server, {}, there);
  t.teardown(() => gateway.stop());
  const { endpointId, ipAddr } = gateway;
  const host = targetToml('host', { transport: 'iroh', endpoint_id: endpointId, iroh_ip_addr: ipAddr });
  const bmuxd = await startBmuxd({ config: host, settings: 'iroh.relays = "disabled"\n' });
  t.teardown(() => bmuxd.stop());
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

async function inItsOwnNetwork(t: Test): Promise<void> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const args = [...OWN, process.execPath, fileURLToPath(import.meta.url)];
  const { status, stdout, stderr } = await run('unshare', args, { ...env, [INSIDE]: '1' }, 240_000);
  t.equal(status, 0, `${stdout}\n${stderr}`);
}

if (process.env[INSIDE] === '1') t.test('the address of this machine changes under live streams', moved);
else t.test('live streams when an address changes', { skip: missing }, inItsOwnNetwork);
