// Tests that another user gets neither requests nor streams: not by a folder or socket of theirs, and not by replacing ours.
import { chmod, chown, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { openStream } from '../../../client-shim/index.ts';
import { makeTargetSocketFolder } from '../../../daemon/control/target-sockets/folder.ts';
import { bindSocket } from '../../../daemon/sockets/bind.ts';
import { httpRequest } from '../../../daemon/sockets/http-request.ts';
import { BMUXD, makeSandbox, SHIM } from '../../daemon/bmuxd.ts';
import { run } from '../../real/server.ts';

t.test(
  'clients and the daemon send nothing to a socket that another user has made',
  { skip: process.getuid?.() !== 0 && 'only root can change the owner of a folder' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const dir = join(sandbox.folder, 'd');
    await mkdir(dir, { mode: 0o755 });
    let heard = 0;
    for (const path of [sandbox.socketPath, sandbox.streamsPath]) {
      const planted = createServer((socket) => {
        heard += 1;
        socket.end();
      });
      await new Promise<void>((resolve) => planted.listen(path, resolve));
      t.teardown(() => planted.close());
    }
    await chown(dir, 65_534, 65_534);
    const refusal = `other users could take the place of bmuxd: ${dir} belongs to user 65534, not to you (0)`;
    // `bmuxd env` sets BMUXD_SOCKET in a shell.
    const explicit = { ...sandbox.env, BMUXD_SOCKET: sandbox.socketPath };
    const commands = [
      [BMUXD, 'status'],
      [BMUXD, 'targets'],
      [BMUXD, 'drop', 'x'],
      [BMUXD, 'reload'],
      [BMUXD, 'events'],
      [BMUXD, 'stop'],
      [BMUXD, 'env', 'x'],
      [SHIM, 'x'],
    ];
    await Promise.all(
      commands.flatMap((args) =>
        [sandbox.env, explicit].map(async (env) => {
          const { status, stdout, stderr } = await run(process.execPath, args, env);
          t.equal(status, args[1] === 'status' ? 1 : 6, args.join(' '));
          t.ok(`${stdout}${stderr}`.includes(refusal), `${stdout}${stderr}`);
        }),
      ),
    );
    for (const option of [{ env: sandbox.env }, { env: explicit }, { socketPath: sandbox.socketPath }])
      await t.rejects(openStream(option), { code: 'path_insecure', message: refusal });
    const question = { socketPath: sandbox.socketPath, method: 'GET', path: '/', timeoutMs: 5000 } as const;
    await t.rejects(httpRequest(question), { code: 'path_insecure' });
    t.equal(heard, 0, 'nothing has connected');

    await chown(dir, 0, 0);
    await chmod(dir, 0o777);
    await t.rejects(openStream({ socketPath: sandbox.socketPath }), { code: 'path_insecure' }, 'open to all');
    await t.rejects(bindSocket(createServer(), join(dir, 'x.sock')), { code: 'path_insecure' });
    await t.rejects(makeTargetSocketFolder(join(dir, 'targets'), 'x', createServer()), {
      code: 'path_insecure',
    });
    t.equal(heard, 0, 'nothing has connected');
    await chmod(dir, 0o700);
    await t.rejects(openStream({ socketPath: sandbox.socketPath, timeoutMs: 50 }));
    t.not(heard, 0, 'the planted sockets do hear');
  },
);

t.test('the daemon does not start in a folder that another user can replace', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const parent = join(sandbox.folder, 'open');
  await mkdir(parent);
  await chmod(parent, 0o777);
  const start = (env: Readonly<Record<string, string>>) =>
    run(process.execPath, [BMUXD, 'run'], { ...sandbox.env, ...env });
  const refusal = {
    status: 6,
    stderr: new RegExp(`^other users could take the place of bmuxd: ${parent} can be changed by others`),
  };
  t.match(await start({ BMUXD_RUNTIME_DIR: join(parent, 'd') }), refusal);
  t.match(await start({ BMUXD_SOCKET: join(parent, 'd', 'control.sock') }), refusal);
});
