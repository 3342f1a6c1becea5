// `bmuxd drop` while an engine that drains has a stream over the connection of a `bmuxd login`, before a real sshd and a real bmux.
import { chmod, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { TestClient } from '../../embedded/client.ts';
import { realBmux, sshdMissing, startServer, startSshd, waitFor } from '../../real/index.ts';
import { sshToml } from '../../target-sockets/ways.ts';
import { processesWith } from '../../transport/ssh/rig.ts';

const noProc = process.platform !== 'linux' && 'processes are found in /proc';
const skip = sshdMissing() || (realBmux() === undefined && 'real bmux not found') || noProc;

t.test('the stream goes on, and the login ends after it', { skip }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const sshd = await startSshd({ env: server.env });
  t.teardown(() => sshd.stop());
  const identity = await sshd.addKey('secret', { passphrase: 'open sesame' });
  const config = sshToml('box', sshd, identity);
  const first = await startBmuxd({ config, env: { PATH: sshd.path } });
  t.teardown(() => first.stop());
  const person = join(sshd.folder, 'person');
  await writeFile(person, '#!/bin/sh\necho "open sesame"\n');
  await chmod(person, 0o755);
  const asked = { SSH_ASKPASS: person, SSH_ASKPASS_REQUIRE: 'force' };
  t.match(await first.bmuxd(['login', 'box'], asked), { status: 0 });
  const { stream, info } = await first.open({ target: 'box' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();

  await first.killControl();
  const next = await startBmuxd({ sandbox: first });
  t.teardown(() => next.stop());
  await waitFor('the former engine to be told', async () =>
    (await next.status()).engines.some(({ state }) => state === 'draining'),
  );
  t.match(await next.bmuxd(['warm', 'box']), { status: 0 });
  t.match(await next.bmuxd(['drop', 'box']), { status: 0 });
  const logins = join(first.folder, 'd', 'ssh', 'login');
  const isAside = async (): Promise<boolean> => (await readdir(logins)).every((name) => name.startsWith('-'));
  await waitFor('the login to be set aside', isAside);
  // A wrong drop would have told ssh by then.
  for (let count = 0; count < 10; count += 1) {
    await client.ping();
    await sleep(200);
  }
  stream.destroy();
  const left = (): ReturnType<typeof processesWith> => processesWith(join(logins, ''));
  await waitFor('the end of the login', async () => (await left()).length === 0);
});
