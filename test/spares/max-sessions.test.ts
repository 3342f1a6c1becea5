// A host that takes one session for each connection: what is kept ready for callers does not take what they need.
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { realBmux, sshdMissing, startServer, startSshd, waitFor } from '../real/index.ts';
import { bmuxOrThrow } from '../real/server.ts';
import { sshToml } from '../target-sockets/ways.ts';

const missing = sshdMissing();
const skip = missing === false ? realBmux() === undefined && 'real bmux not found' : missing;

t.test('another target on the host, while spares are kept for the first', { skip }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const sshd = await startSshd({ env: server.env, config: 'MaxSessions 1\nMaxStartups 100' });
  t.teardown(() => sshd.stop());
  const other = join(sshd.folder, 'other-bmux');
  await symlink(bmuxOrThrow(), other);
  const config = [sshToml('box', sshd), sshToml('other', sshd).replace(bmuxOrThrow(), other)];
  const bmuxd = await startBmuxd({ config: config.join(''), env: { PATH: sshd.path } });
  t.teardown(() => bmuxd.stop());
  const clients: TestClient[] = [];
  t.teardown(() => clients.map(({ stream }) => stream.destroy()));
  const open = async (target: string): Promise<void> => {
    const { stream } = await bmuxd.open({ target });
    const client = new TestClient(stream, { limitMs: 60_000 });
    clients.push(client);
    await client.ping();
  };
  while (clients.length < 4) await open('box');
  const spares = async (): Promise<number> => (await bmuxd.upstreams())[0]?.spares ?? 0;
  let before = NaN;
  await waitFor('as many spares as are kept', async () => {
    await sleep(1000);
    const now = await spares();
    const isSettled = now > 0 && now === before;
    before = now;
    return isSettled;
  });
  await open('other');
  for (const client of clients) await client.ping();
  t.equal(clients.length, 5);
});
