// The real bmux on a target socket over a real sshd: its server is stopped and started, control dies, and clients are killed.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { unanswered } from '../../../daemon/cli/reach.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { bmuxOrThrow } from '../../real/server.ts';
import { realBmux, run, sshdMissing, startServer, startSshd, waitFor, type Ran } from '../../real/index.ts';
import { isAlive } from '../../real/child.ts';
import { processesWith } from './rig.ts';
import type { UpstreamRow } from '../../../daemon/api/answers.ts';
import { eventsOf, targetSocketEnv } from '../../target-sockets/target-socket.ts';
import { sshToml } from '../../target-sockets/ways.ts';

const missing = sshdMissing();
const skip = missing === false ? realBmux() === undefined && 'real bmux not found' : missing;

t.test('over SSH', { skip }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  // The one that is started over SSH is no child of this test.
  t.teardown(() => server.bmux(['server', 'stop']));
  const sshd = await startSshd({ env: server.env });
  t.teardown(() => sshd.stop());
  const config = [sshToml('box', sshd), sshToml('strict', sshd), 'server_start_mode = "require_running"\n'];
  const bmuxd = await startBmuxd({ config: config.join(''), env: { PATH: sshd.path } });
  t.teardown(() => bmuxd.stop());
  const env = await targetSocketEnv(bmuxd, 'box');
  const list = (): Promise<Ran> => run(bmuxOrThrow(), ['list-sessions'], env);
  t.match(await list(), { status: 0 });

  await t.test('status, ping, drop and warm', async (t) => {
    const row = async (): Promise<UpstreamRow | undefined> => (await bmuxd.upstreams())[0];
    await waitFor('a round trip', async () => (await row())?.roundTripMs !== undefined);
    t.match(await row(), { transport: 'ssh', epoch: 4, compression: 'none', warm: true, state: 'warm' });
    t.match(await bmuxd.bmuxd(['ping', 'box', '-c', '1']), { status: 0 });
    t.match(await bmuxd.bmuxd(['drop', 'box']), { status: 0 });
    await waitFor('nothing to be kept', async () => (await row())?.warm !== true);
    if (process.platform === 'linux')
      await waitFor(
        'no process',
        async () => (await processesWith(join(bmuxd.folder, 'd', 'ssh'))).length === 0,
      );
    t.match(await bmuxd.bmuxd(['warm', 'box']), { status: 0 });
    t.match(await row(), { warm: true });
    t.match(await list(), { status: 0 });
    const types = (await eventsOf(bmuxd)).map(({ type }) => type);
    t.ok(types.includes('connection made'));
  });

  const spares = async (): Promise<number> => (await bmuxd.upstreams())[0]?.spares ?? 0;
  await t.test('a server that was stopped is started again by the next command', async (t) => {
    await waitFor('a spare', async () => (await spares()) !== 0);
    await server.bmux(['server', 'stop']);
    await waitFor('its spares to be ended', async () => (await spares()) === 0);
    t.match(await server.bmux(['server', 'status']), { status: 1 }, 'and no spare has started it');
    const ran = await list();
    t.match(ran, { status: 0 }, ran.stderr);
    t.match(await server.bmux(['server', 'status']), { status: 0 });
  });

  await t.test('but not for a target with server_start_mode = "require_running"', async (t) => {
    const strict = await targetSocketEnv(bmuxd, 'strict');
    t.match(await run(bmuxOrThrow(), ['list-sessions'], strict), { status: 0 });
    await server.bmux(['server', 'stop']);
    t.match(await run(bmuxOrThrow(), ['list-sessions'], strict), {
      status: 1,
      stderr: /no bmux server runs on SSH target 'strict'[^]*server_start_mode/,
    });
    t.match(await server.bmux(['server', 'status']), { status: 1 }, 'and nothing has started it');
    t.match(await list(), { status: 0 });
  });

  await t.test('so is one whose end no spare has noticed yet', async (t) => {
    await waitFor('a spare', async () => (await spares()) !== 0);
    await server.bmux(['server', 'stop']);
    const ran = await list();
    t.match(ran, { status: 0 }, ran.stderr);
    t.match(await server.bmux(['server', 'status']), { status: 0 });
  });

  await t.test('a stream on which nothing is sent is told that its server has ended', async (t) => {
    const { stream } = await bmuxd.open({ target: 'box' });
    const lost = new Promise<Error>((resolve) => stream.once('error', resolve));
    stream.resume();
    await server.bmux(['server', 'stop']);
    t.match((await lost).message, /the bmux server on SSH target 'box' has ended/);
    t.match(await list(), { status: 0 });
  });

  const noProc = process.platform !== 'linux' && 'processes are found in /proc';
  await t.test('an engine is killed under a live stream', { skip: noProc }, async (t) => {
    const { stream } = await bmuxd.open({ target: 'box' });
    stream.on('error', () => undefined).resume();
    const left = await processesWith(join(bmuxd.folder, 'd', 'ssh'));
    t.ok(left.length >= 2, 'a master and a session');
    process.kill(await bmuxd.enginePid(), 'SIGKILL');
    await waitFor('the next engine to end what it has left', () => left.every(({ pid }) => !isAlive(pid)));
    t.match(await list(), { status: 0 });
  });

  await t.test('control is killed under live streams', async (t) => {
    const streams = await Promise.all([1, 2, 3, 4, 5].map(() => bmuxd.open({ target: 'box' })));
    await bmuxd.killControl();
    for (const { stream, info } of streams) {
      t.equal(await unanswered(stream, info.epoch), undefined, 'the server answers on it');
      stream.destroy();
    }
    const next = await startBmuxd({ sandbox: bmuxd });
    t.teardown(() => next.stop());
    t.match(await list(), { status: 0 });

    const clients = Array.from({ length: 50 }, () =>
      spawn(bmuxOrThrow(), ['list-sessions'], { env, stdio: 'ignore' }),
    );
    const over = clients.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const [index, child] of clients.entries()) setTimeout(() => child.kill('SIGKILL'), 10 + 5 * index);
    await Promise.all(over);
    await waitFor('the streams to be over', async () => (await next.status()).streams === 0);
    const left = (): ReturnType<typeof processesWith> => processesWith(join(bmuxd.folder, 'd', 'ssh'));
    if (process.platform === 'linux')
      await waitFor('a session for each spare, and the masters', async () => {
        const lines = (await left()).map(({ line }) => line);
        const masters = lines.filter((line) => line.includes('ControlMaster=yes')).length;
        const spares = (await next.upstreams()).reduce((sum, row) => sum + row.spares, 0);
        return lines.length - masters <= spares;
      });
    t.match(await next.bmuxd(['stop']), { status: 0 });
    if (process.platform === 'linux') t.strictSame(await left(), [], 'nothing is left');
  });
});
