// Two `bmuxd login` to one target at once, before a real sshd and a real bmux: both have a connection, and neither is left behind.
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { realBmux, sshdMissing, startServer, startSshd } from '../../real/index.ts';
import { sshToml } from '../../target-sockets/ways.ts';
import { processesWith } from '../../transport/ssh/rig.ts';

const noProc = process.platform !== 'linux' && 'processes are found in /proc';
const skip = sshdMissing() || (realBmux() === undefined && 'real bmux not found') || noProc;

t.test('two at once', { skip }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const sshd = await startSshd({ env: server.env });
  t.teardown(() => sshd.stop());
  const identity = await sshd.addKey('secret', { passphrase: 'open sesame' });
  const bmuxd = await startBmuxd({ config: sshToml('box', sshd, identity), env: { PATH: sshd.path } });
  t.teardown(() => bmuxd.stop());

  // Answers when both are asked.
  const asked = join(sshd.folder, 'asked');
  await mkdir(asked);
  const person = join(sshd.folder, 'person');
  const both = `[ "$(ls '${asked}' | wc -l)" -ge 2 ]`;
  const script = `#!/bin/sh\ntouch '${asked}'/$$\nuntil ${both}; do sleep 0.1; done\necho "open sesame"\n`;
  await writeFile(person, script);
  await chmod(person, 0o755);
  const env = { SSH_ASKPASS: person, SSH_ASKPASS_REQUIRE: 'force' };
  for (const ran of await Promise.all([1, 2].map(() => bmuxd.bmuxd(['login', 'box'], env))))
    t.match(ran, { status: 0, stdout: /^logged in to box/ }, ran.stderr);

  const left = (): ReturnType<typeof processesWith> => processesWith(join(bmuxd.folder, 'd', 'ssh'));
  t.not((await left()).length, 0);
  t.match(await bmuxd.bmuxd(['stop']), { status: 0 });
  t.strictSame(await left(), [], 'nothing is left');
});
