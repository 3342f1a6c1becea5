// Tests the end of a daemon on a signal where the kernel would kill its engines with it: as process 1 of a pid namespace.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chown, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import t from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import { Shutdown } from '../../daemon/control/shutdown.ts';
import { endsEngines } from '../../daemon/control/instance/ends-engines.ts';
import { managerEnds } from '../../daemon/control/service/manager-ends.ts';
import { BMUXD, makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { holdTime } from '../base/async/held-timers.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { startChild, waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';
import { Talk } from '../engine/world.ts';
import { targetToml } from '../target-sockets/ways.ts';

t.setTimeout(300_000);

t.test('where the end of control ends its engines', (t) => {
  const system = { namespace: 'pid:[4026531836]', env: {} };
  const other = { namespace: 'pid:[4026532000]', env: {} };
  t.equal(endsEngines({ ...other, pid: 1, parent: 0 }), true, 'process 1');
  t.equal(endsEngines({ ...other, pid: 7, parent: 1 }), true, 'the child of a small process 1');
  t.equal(endsEngines({ ...other, pid: 7, parent: 1, env: { INVOCATION_ID: 'x' } }), false, 'a service');
  t.equal(endsEngines({ ...other, pid: 7, parent: 5 }), false, 'started from a shell of the container');
  t.equal(endsEngines({ ...system, pid: 7, parent: 1 }), false, 'outside of any container');
  t.equal(endsEngines({ namespace: undefined, env: {}, pid: 7, parent: 1 }), false, 'no Linux');
  t.end();
});

const mayUnshare = spawnSync('unshare', ['--pid', '--fork', '--kill-child', 'true']).status === 0;

t.test('process 1 of a container', { skip: !mayUnshare && 'needs unshare(1) and its rights' }, async (t) => {
  const sandbox = await makeSandbox({ settings: 'warmth.max_connections = 0\n' });
  t.teardown(() => sandbox.remove());
  const server = await launchEmbedded({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    server: { epoch: 4, handshakeTimeoutMs: 1500 },
    tls: { compression: 'none' },
  });
  t.teardown(() => server.stop());
  const ca = join(sandbox.folder, 'ca.pem');
  await writeFile(ca, server.tls?.certPem ?? '');
  const address = {
    transport: 'tls',
    host: '127.0.0.1',
    port: server.tls?.port,
    server_name: 'localhost',
    ca_file: ca,
  };
  await sandbox.configure('bmux.toml', targetToml('tls', address));
  const start = async (): Promise<{ readonly pid: number; readonly gone: () => Promise<void> }> => {
    const child = await startChild({
      command: 'unshare',
      args: ['--pid', '--fork', '--kill-child', process.execPath, BMUXD, 'run'],
      env: sandbox.env,
      ready: (output) => output.includes('"streams are accepted"'),
    });
    t.teardown(() => child.stop('SIGKILL'));
    const children = readFileSync(`/proc/${String(child.pid)}/task/${String(child.pid)}/children`, 'utf8');
    const gone = (): Promise<void> => waitFor('the container to end', () => child.exited());
    return { pid: Number(children.trim()), gone };
  };
  const talks = async (): Promise<void> => {
    for (const _ of [1, 2, 3]) (await Talk.open(sandbox, 'tls')).start();
  };

  const first = await start();
  await talks();
  process.kill(first.pid, 'SIGTERM');
  await first.gone();
  await waitFor('the connections to come back', async () => (await server.status()).connections === 0);
  t.equal((await server.status()).tls?.truncated, 0, 'each stream ended with close_notify');

  const replaced = await start();
  await talks();
  const stopping = run(process.execPath, [BMUXD, 'stop', '--drain', '1h'], sandbox.env);
  await waitFor('it to drain', async () => {
    const { stdout } = await run(process.execPath, [BMUXD, 'status', '--json'], sandbox.env);
    return stdout.includes('"draining"');
  });
  t.match(await run(process.execPath, [BMUXD, 'restart'], sandbox.env), { status: 0 });
  t.match(await stopping, { status: 1, stderr: '[daemon_replaced]' }, 'a stop outside, too');
  await replaced.gone();
  await waitFor('the connections to come back', async () => (await server.status()).connections === 0);
  t.equal((await server.status()).tls?.truncated, 0, 'also when a daemon outside has taken over');
  t.match(await run(process.execPath, [BMUXD, 'stop'], sandbox.env), { status: 0 });

  const second = await start();
  t.not(second.pid, 1);
  const stopped = await run(process.execPath, [BMUXD, 'stop'], sandbox.env);
  t.match(
    stopped,
    { status: 0, stdout: 'bmuxd has stopped\n' },
    'its pid, 1, is that of another process here',
  );
  await second.gone();
});

t.test('whether the service manager ends is asked of the one that has started control', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const answer = (script: string): Promise<void> =>
    writeFile(join(sandbox.folder, 'systemctl'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const env = { MANAGERPID: '7', PATH: `${sandbox.folder}:${process.env['PATH'] ?? ''}` };
  t.equal(
    await managerEnds({ MANAGERPID: '7', PATH: join(sandbox.folder, 'none') }, 7),
    false,
    'no systemctl',
  );
  await answer('[ "$*" = "--user is-system-running" ] && echo stopping; exit 1');
  t.equal(await managerEnds(env, 7), true);
  t.equal(await managerEnds(env, 8), false, 'started by hand in a service');
  t.equal(await managerEnds({ ...env, MANAGERPID: undefined }, 7), false, 'no service');
  await answer('echo degraded; exit 1');
  t.equal(await managerEnds(env, 7), false);
  await answer('echo stopping; exec sleep 600');
  t.equal(await managerEnds(env, 7), true, 'said before the limit');
  await answer('exec sleep 600');
  t.equal(await managerEnds(env, 7), false, 'nothing within the limit');
});

t.test(
  'root makes no folders in the home of a user',
  { skip: process.getuid?.() !== 0 && 'only root can change the owner of a folder' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const home = join(sandbox.folder, 'theirs');
    await mkdir(home);
    await chown(home, 65_534, 65_534);
    const env = { PATH: process.env['PATH'] ?? '', HOME: home };
    for (const command of ['run', 'start']) {
      const ran = await run(process.execPath, [BMUXD, command], env);
      t.match(ran, { status: 6, stderr: /belongs to user 65534, not to you \(0\)/ }, command);
      t.same(await readdir(home), [], command);
    }
  },
);

t.test('on_term = "stop" ends the streams first, "leave" does not', async (t) => {
  const bmuxd = await startBmuxd({ settings: 'on_term = "stop"\n' });
  t.teardown(() => bmuxd.stop());
  const [name = ''] = await bmuxd.engines();
  t.match(name, /\.sock$/);
  await bmuxd.leave();
  t.same(await bmuxd.engines(), [], 'the engine has left as well');
});

t.test('a signal kills the engines that have not ended at the limit', async (t) => {
  const nothing = (): undefined => undefined;
  const done = (): Promise<void> => Promise.resolve();
  const living = ['a'];
  const shutdown = new Shutdown({
    log: pino({ enabled: false }),
    takesEnginesAlong: false,
    manager: { stopping: nothing, isEnding: () => Promise.resolve(false) },
    server: { closeAllConnections: nothing },
    requests: { acceptNoMore: done, answered: done },
    followed: { close: nothing },
    planner: { close: nothing },
    refuse: [],
    alsoRefuse: [],
    instance: { stopping: done, stopped: done, release: done },
    engines: {
      accepting: done,
      supervisor: {
        halt: nothing,
        killStarting: nothing,
        stop: nothing,
        close: nothing,
        kill: (only) => {
          if (only !== undefined) return [];
          return living.splice(0);
        },
        get living() {
          return living;
        },
      },
      directory: {
        survey: () => Promise.reject(new Error('nobody asks')),
        stopAll: () => Promise.resolve([]),
        empty: () => Promise.resolve(living.length === 0),
      },
      streamsSocket: { leave: done, close: done },
    },
    targetSockets: { removeAll: done, clear: done, leave: nothing, hasSockets: false },
    watchers: [],
  });
  const time = holdTime(t);
  const stopping = shutdown.onTerm('stop', 'SIGTERM');
  await time.pass(LIMITS.termMs - 100);
  t.strictSame(living, ['a']);
  await time.pass(200);
  t.strictSame(living, []);
  await stopping;
});
