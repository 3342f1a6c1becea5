// Tests the count of connections that a TLS gateway holds because their engine was killed.
import t from 'tap';
import type { Status } from '../../daemon/api/answers.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { waitFor } from '../real/index.ts';
import { startWorld, Talk } from './world.ts';

t.test(
  'connections that are lost at a gateway are counted and told, and forgotten after its restart',
  async (t) => {
    const { bmuxd, server } = await startWorld(t);
    let daemon = bmuxd;
    const lost = async (): Promise<Status['lostConnections']> => (await daemon.status()).lostConnections;
    const holds = (count: number) => async (): Promise<boolean> =>
      (await daemon.upstreams()).find(({ target }) => target === 'tls')?.connections === count;
    for (const crash of [1, 2]) {
      await Promise.all(['tls', 'tls', 'local', 'iroh'].map((target) => Talk.open(daemon, target)));
      await waitFor('both connections', holds(2));
      // What the engine has told last counts.
      await daemon.status();
      process.kill(await daemon.enginePid(), 'SIGKILL');
      await waitFor('the count', async () => (await lost())?.[0]?.count === 2 * crash);
    }
    t.match(await lost(), [{ target: 'tls', count: 4, address: /127\.0\.0\.1:/ }], 'of the TLS target alone');
    await waitFor('the daemon to be ready', async () => (await daemon.status()).state === 'ready');
    const { stdout } = await bmuxd.bmuxd(['status']);
    t.match(
      stdout,
      /! the TLS gateway of tls holds 4 connections .*\n {2}Restart that gateway, then run `bmuxd drop tls`\./,
    );
    t.match((await daemon.http('GET', '/v1/metrics')).body, /\nbmuxd_lost_connections 4\n/);

    await bmuxd.leave();
    daemon = await startBmuxd({ sandbox: bmuxd });
    t.teardown(() => daemon.stop());
    t.match(await lost(), [{ count: 4 }], 'the next control knows it');
    const talk = await Talk.open(daemon, 'tls');
    await talk.end();
    t.match(await lost(), [{ count: 4 }], 'a proper end loses nothing');
    t.match(await daemon.bmuxd(['drop', 'tls']), { status: 0 });
    t.equal(await lost(), undefined);

    await Talk.open(daemon, 'tls');
    await waitFor('the connection', holds(1));
    await daemon.status();
    process.kill(await daemon.enginePid(), 'SIGKILL');
    await waitFor('the count', async () => (await lost())?.[0]?.count === 1);
    await server.kill();
    await waitFor('a gateway that is away to be noticed', async () => {
      await Talk.open(daemon, 'tls').catch(() => undefined);
      return (await lost()) === undefined;
    });
  },
);
