// `bmuxd login` where nobody can be asked: in a session without a terminal.
import t from 'tap';
import { BMUXD, startBmuxd } from '../../daemon/bmuxd.ts';
import { freePort } from '../../real/child.ts';
import { onPath } from '../../real/find.ts';
import { run } from '../../real/index.ts';
import { targetToml } from '../../target-sockets/ways.ts';

const skip = ['ssh', 'setsid'].every((name) => onPath(name) !== undefined)
  ? false
  : 'ssh or setsid not found';

t.test('a login without a file for host keys says so', { skip }, async (t) => {
  const none = { host: '127.0.0.1', port: await freePort(), known_hosts_file: 'none' };
  const bmuxd = await startBmuxd({ config: targetToml('box', { transport: 'ssh', ...none }) });
  t.teardown(() => bmuxd.stop());
  t.match(await run('setsid', ['-w', process.execPath, BMUXD, 'login', 'box'], bmuxd.env), {
    status: 6,
    stderr:
      /set known_hosts_file \(in ssh_config UserKnownHostsFile\) to a file, not to `none`\. \[ssh_login_ended\]/,
  });
});

t.test('a login that fails says that nobody could be asked', { skip }, async (t) => {
  const box = targetToml('box', { transport: 'ssh', host: '127.0.0.1', port: await freePort() });
  const bmuxd = await startBmuxd({ config: box });
  t.teardown(() => bmuxd.stop());
  const login = (env: Readonly<Record<string, string>>) =>
    run('setsid', ['-w', process.execPath, BMUXD, 'login', 'box'], { ...bmuxd.env, ...env });
  t.match(await login({}), {
    status: 6,
    stderr: /run this in a terminal, or set SSH_ASKPASS\. \[ssh_login_ended\]/,
  });
  t.match(await login({ SSH_ASKPASS: '/bin/true' }), {
    status: 6,
    stderr: /^ssh has said why\. \[ssh_login_ended\]/m,
  });
});
