// `bmuxd login` before a real sshd and a real bmux: a key with a passphrase, and who keeps the connection.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD, startBmuxd } from '../../daemon/bmuxd.ts';
import { realBmux, sshdMissing, startServer, startSshd, waitFor } from '../../real/index.ts';
import { sshToml, targetToml } from '../../target-sockets/ways.ts';
import { processesWith } from '../../transport/ssh/rig.ts';

const missing = sshdMissing();
const skip = missing === false ? realBmux() === undefined && 'real bmux not found' : missing;

t.test('bmuxd login', { skip }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const sshd = await startSshd({ env: server.env });
  t.teardown(() => sshd.stop());
  const identity = await sshd.addKey('secret', { passphrase: 'open sesame' });
  const config = sshToml('box', sshd, identity) + targetToml('here', { transport: 'local' });
  const bmuxd = await startBmuxd({ config, env: { PATH: sshd.path } });
  t.teardown(() => bmuxd.stop());
  const logins = (): number => sshd.log().split('Accepted publickey').length - 1;

  t.match(await bmuxd.bmuxd(['warm', 'box']), {
    status: 6,
    stderr: /needs its passphrase[^]*bmuxd login box/,
  });
  t.match(await bmuxd.bmuxd(['login', 'here']), {
    status: 2,
    stderr: /has no login: it is reached over local/,
  });

  t.match(await bmuxd.bmuxd(['trust', 'add', 'box']), { status: 2, stderr: /whose known_hosts holds/ });

  const person = join(sshd.folder, 'person');
  await writeFile(person, '#!/bin/sh\necho "open sesame"\n');
  await chmod(person, 0o755);
  const asked = { SSH_ASKPASS: person, SSH_ASKPASS_REQUIRE: 'force' };
  t.match(await bmuxd.bmuxd(['login', 'box'], { ...asked, SSH_ASKPASS: '/bin/false' }), { status: 6 });
  t.equal(logins(), 0);

  await t.test('one that is ended while it asks takes its ssh with it', async (t) => {
    const [silent, hasAsked] = [join(sshd.folder, 'silent'), join(sshd.folder, 'asked')];
    await writeFile(silent, `#!/bin/sh\ntouch '${hasAsked}'\nexec sleep 60\n`);
    await chmod(silent, 0o755);
    const env = { ...bmuxd.env, ...asked, SSH_ASKPASS: silent };
    const login = spawn(process.execPath, [BMUXD, 'login', 'box'], { env, stdio: 'ignore' });
    await waitFor('it to ask', () => existsSync(hasAsked));
    const exited = once(login, 'exit');
    login.kill('SIGTERM');
    t.strictSame(await exited, [143, null]);
    if (process.platform === 'linux')
      t.strictSame(await processesWith(join(bmuxd.folder, 'd', 'ssh', 'login')), []);
  });

  t.match(await bmuxd.bmuxd(['login', 'box'], asked), { status: 0, stdout: /^logged in to box/ });
  t.equal(logins(), 1);
  t.match(await bmuxd.bmuxd(['login', 'box']), { status: 0 }, 'it is there already');

  process.kill(await bmuxd.enginePid(), 'SIGKILL');
  await waitFor('the next engine to use it', async () => (await bmuxd.bmuxd(['warm', 'box'])).status === 0);
  t.equal(logins(), 1, 'no other login');

  const left = (): ReturnType<typeof processesWith> => processesWith(join(bmuxd.folder, 'd', 'ssh'));
  if (process.platform === 'linux') t.not((await left()).length, 0);
  t.match(await bmuxd.bmuxd(['stop']), { status: 0 });
  t.strictSame(await left(), [], 'nothing is left');
});
