// `bmuxd login` in a terminal, before a real sshd that wants a key and then something that a person types.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD, startBmuxd } from '../../daemon/bmuxd.ts';
import { start } from '../../embedded/server/start-server.ts';
import { codeOfPam, rootsPassword, sshdMissing } from '../../real/index.ts';
import { hasTmux, startTmux } from '../../target-sockets/tmux.ts';
import { sshToServer } from '../../transport/ssh/far-server.ts';

const skip = sshdMissing() || (!hasTmux() && 'tmux not found');

const PROOFS = [
  {
    what: 'a password after the key',
    typed: rootsPassword,
    missing: 'no account can get a password here',
    method: 'password',
    config: 'PasswordAuthentication yes',
  },
  {
    what: 'a code of PAM after the key',
    typed: codeOfPam,
    missing: 'no service of PAM can be replaced here',
    method: 'keyboard-interactive',
    config: 'UsePAM yes\nKbdInteractiveAuthentication yes',
  },
];

for (const { what, typed, missing, method, config } of PROOFS)
  t.test(what, { skip }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'otp-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const person = await typed(folder);
    if (person === undefined) {
      t.pass(`# SKIP: ${missing}`);
      return;
    }
    const server = await start(t, { epoch: 4 });
    const { sshd, toml } = await sshToServer(t, server.socketPath, {
      at: { host: '127.0.0.1', command: person.command },
      config: `${config}\nAuthenticationMethods publickey,${method}`,
    });
    const bmuxd = await startBmuxd({ config: toml('box'), env: { PATH: sshd.path } });
    t.teardown(() => bmuxd.stop());
    const tmux = await startTmux();
    t.teardown(() => tmux.stop());

    const refused = await bmuxd.bmuxd(['warm', 'box']);
    t.match(refused, {
      status: 6,
      stderr: new RegExp(`the host wants a second proof \\(${method}\\)[^]*bmuxd login box`),
    });
    const accepted = `Accepted ${method}`;
    t.notMatch(sshd.log(), accepted);

    const command = `'${process.execPath}' '${BMUXD}' login box; echo "left with $?"; exec cat`;
    const window = await tmux.open(command, bmuxd.env);
    await tmux.shows(window, /password:/i);
    await tmux.type(window, person.answer);
    await tmux.key(window, 'Enter');
    const screen = await tmux.shows(window, /left with \d/);
    t.match(screen, /logged in to box; bmuxd keeps the connection\s+left with 0/);
    t.notMatch(screen, person.answer, 'it is not shown');

    const { stream, info } = await bmuxd.open({ target: 'box' });
    t.match(info, { target: 'box', warm: true });
    stream.destroy();
    t.match(await bmuxd.bmuxd(['ping', 'box', '-c', '1']), { status: 0 });
    t.equal(sshd.log().split(accepted).length, 2, 'one login');
  });
