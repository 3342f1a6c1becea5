// Tests a change of the network: warm connections and spares are checked before their next use, and those that do not answer are not used.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { eventsOf } from '../target-sockets/target-socket.ts';
import { halt, waitFor } from '../real/index.ts';
import { startFarWorld } from './far-world.ts';

t.test('connections and spares of before the change are checked before their next use', async (t) => {
  const interfaces = await mkdtemp(join(tmpdir(), 'bmuxd-network-'));
  t.teardown(() => rm(interfaces, { recursive: true, force: true }));
  const { bmuxd, tls, iroh, row, ask } = await startFarWorld(t, {
    connectTimeoutMs: 2500,
    env: {
      TEST_NETWORK: interfaces,
      NODE_OPTIONS: `--import=${new URL('../daemon/network.js', import.meta.url).href}`,
    },
  });
  // No interface has an address yet: this machine is offline, and what is on the machine itself works all the same.
  const { endpointId = '' } = iroh.iroh ?? {};
  await t.rejects(
    bmuxd.open({ target: `iroh://${endpointId}?addr=192.0.2.9:4433` }),
    { code: 'iroh_unreachable', data: { class: 'offline', remedy: /no network/ } },
    'a host on another machine is not dialled',
  );

  let changes = 0;
  const change = async (): Promise<void> => {
    changes += 1;
    await mkdir(join(interfaces, `wlan${String(changes)}`));
    await waitFor('the change to be noticed', async () => {
      const told = (await eventsOf(bmuxd)).filter(({ type }) => type === 'network changed');
      return told.length === changes;
    });
  };
  for (const target of ['far', 'home']) await ask(target);
  await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
  await change();
  for (const target of ['far', 'home'])
    t.equal((await ask(target)).warm, true, `${target} answered the health check`);

  await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
  await tls.command({ do: 'blackhole' });
  await halt(iroh.pid);
  t.teardown(() => process.kill(iroh.pid, 'SIGCONT'));
  // What the host sent just before it was stopped would count as an answer to the health check.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await change();
  await Promise.all([
    t.rejects(
      bmuxd.open({ target: 'far' }),
      { code: 'tls_handshake_timeout' },
      'the silent spare is not used',
    ),
    t.rejects(
      bmuxd.open({ target: 'home' }),
      { code: 'iroh_connect_timeout' },
      'the silent connection is not used',
    ),
  ]);
  // The proxy is stopped first, so that stopping the daemon does not wait for the ends of streams.
  await tls.stop();
});
