// What a person asks bmuxd about an SSH target, before a real sshd and the real bmux: doctor, ping, metrics, and attach in a terminal.
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { BMUXD, startBmuxd } from '../../daemon/bmuxd.ts';
import { bmuxOrThrow } from '../../real/server.ts';
import { realBmux, run, sshdMissing, startServer, startSshd, waitFor } from '../../real/index.ts';
import { targetSocketEnv } from '../../target-sockets/target-socket.ts';
import { hasTmux, startTmux } from '../../target-sockets/tmux.ts';
import { sshToml } from '../../target-sockets/ways.ts';
import { processesWith } from './rig.ts';

const missing = sshdMissing();
const skip = missing === false ? realBmux() === undefined && 'real bmux not found' : missing;

t.test('commands for an SSH target', { skip }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const sshd = await startSshd({ env: server.env });
  t.teardown(() => sshd.stop());
  const mine = `${sshToml('mine', sshd)}user = ${JSON.stringify(userInfo().username)}\n`;
  const config = `[keybindings.global]\n"ctrl+q" = "detach"\n${sshToml('box', sshd)}\n${mine}`;
  const bmuxd = await startBmuxd({ config, env: { PATH: sshd.path } });
  t.teardown(() => bmuxd.stop());

  const found = await bmuxd.bmuxd(['doctor', 'box']);
  t.match(found, { status: 0, stdout: /^Nothing is wrong\.$/m });
  const rows = found.stdout.slice(found.stdout.indexOf('\ntarget box'));
  for (const row of [
    /^ +tcp +127\.0\.0\.1 port \d+ /m,
    /^ +host key +ssh-ed25519 SHA256:\S+, known /m,
    /^ +auth +at 127\.0\.0\.1, by publickey /m,
    /^ +bmux +\d\S+ as \//m,
    /^ +hello +epoch 4, compression none /m,
    /^ +round trip +a Ping and its answer /m,
  ])
    t.match(rows, row);

  const ping = async (): Promise<unknown> => {
    const { status, stdout } = await bmuxd.bmuxd(['ping', 'box', '-c', '1', '--json']);
    t.equal(status, 0);
    return JSON.parse(stdout);
  };
  t.match(await ping(), { transport: 'ssh', epoch: 4, warm: false }, 'its login was made for it');
  t.match(await ping(), { transport: 'ssh', epoch: 4, warm: true });
  const { body } = await bmuxd.http('GET', '/v1/metrics');
  t.match(body, /\nbmuxd_upstreams\{transport="ssh",state="warm"\} 1\n/);
  for (const warmth of ['cold', 'warm'])
    t.match(body, new RegExp(`_open_duration_seconds_count\\{transport="ssh",warmth="${warmth}"\\} 1\\n`));

  t.match(await bmuxd.bmuxd(['warm', 'mine']), { status: 0 });
  t.match(
    await bmuxd.bmuxd(['status', 'mine']),
    { stdout: /^ {2}address +ssh:\S+@127\.0\.0\.1:\d+ [^]*^ {2}state +warm$/m },
    'a target with a user',
  );

  if (!hasTmux()) {
    t.pass('# SKIP: tmux not found');
    return;
  }
  const tmux = await startTmux();
  t.teardown(() => tmux.stop());
  const made = await run(bmuxOrThrow(), ['new-session', '-n', 'work'], await targetSocketEnv(bmuxd, 'box'));
  t.equal(made.status, 0, made.stderr);
  const path = `${dirname(bmuxOrThrow())}:${sshd.path}`;
  const command = `PATH='${path}' '${process.execPath}' '${BMUXD}' attach box work`;
  const window = await tmux.open(`${command}; echo "left with $?"; exec cat`, bmuxd.env);
  const isAttached = (): Promise<string> => tmux.shows(window, /^╭─*╮\n│.*[#$] /m);
  await isAttached();
  if (process.platform === 'linux') {
    const ofTarget = join(bmuxd.folder, 'd', 'ssh');
    for (const { pid, line } of await processesWith(ofTarget))
      if (line.includes('ControlMaster=yes')) process.kill(pid, 'SIGKILL');
    await waitFor('the loss', async () => !/^╭/m.test(await tmux.screen(window)));
    await isAttached();
  }
  await tmux.keyUntil(window, 'C-q', /left with 0/);
});

t.test(
  'identity_file names a variable: the key of each caller counts at its next command',
  { skip },
  async (t) => {
    const server = await startServer();
    t.teardown(() => server.stop());
    const sshd = await startSshd({ env: server.env });
    t.teardown(() => sshd.stop());
    const keys = [
      sshd.identity,
      await sshd.addKey('stranger', { accepted: false }),
      await sshd.addKey('second'),
    ];
    const bmuxd = await startBmuxd({ config: sshToml('box', sshd, '$HOST'), env: { PATH: sshd.path } });
    t.teardown(() => bmuxd.stop());
    const command = `eval "$('${process.execPath}' '${BMUXD}' env box)" && '${bmuxOrThrow()}' list-sessions`;
    for (const key of [...keys, ...keys]) {
      const own = { ...bmuxd.env, HOST: key };
      const told = key.endsWith('stranger') ? { status: 6, stderr: /denied the login/ } : { status: 0 };
      t.match(
        await bmuxd.bmuxd(['exec', 'box', '--', bmuxOrThrow(), 'list-sessions'], own),
        told,
        `exec ${key}`,
      );
      t.match(
        await bmuxd.shim(['box'], new Uint8Array(), own),
        { status: told.status },
        `bmux-stream ${key}`,
      );
      const evaluated = await run('sh', ['-c', command], own);
      t.equal(evaluated.status === 0, told.status === 0, `env ${key}: ${evaluated.stderr}`);
      const opened = bmuxd.open({ target: 'box', env: own });
      if (told.status === 0) (await opened).stream.destroy();
      else await t.rejects(opened, { code: 'ssh_denied' }, `the library ${key}`);
    }
  },
);
