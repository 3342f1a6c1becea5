// An ssh that says nothing, and ignores SIGTERM: each wait for it has a limit, and it is ended then.
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import type { SshRoute } from '../../../daemon/engine-protocol/plan.ts';
import { foundMaster, login } from '../../../daemon/transport/ssh/login.ts';
import type { MasterDeps } from '../../../daemon/transport/ssh/master.ts';
import { serverThere } from '../../../daemon/transport/ssh/preflight.ts';
import { SshProcesses } from '../../../daemon/transport/ssh/process.ts';
import { SshStream } from '../../../daemon/transport/ssh/stream.ts';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { holdTimers } from '../../base/async/held-timers.ts';
import { isAlive, waitFor } from '../../real/child.ts';
import { sshdMissing } from '../../real/index.ts';
import { answers, FAKE_BMUX, sshRig, waitOf, writeProgram } from './rig.ts';
import { run } from '../../real/server.ts';

const route: SshRoute = {
  transport: 'ssh',
  host: 'box',
  strictHostKeyChecking: true,
  remoteBmuxPath: 'bmux',
  startsServer: false,
};

type Deps = MasterDeps & { readonly env: Record<string, string> };

/** Does `work` with such an ssh, which has `ms`, and expects that ssh to be ended. */
async function hung<T>(
  t: Test,
  ms: number,
  work: (deps: Deps) => Promise<T>,
  hangsAtVersion = false,
): Promise<T> {
  const folder = t.testdir({});
  const file = join(folder, 'pid');
  const hangs = `trap '' TERM\necho $$ > '${file}'\nexec sleep 600\n`;
  const program = `#!/bin/sh\n${hangsAtVersion ? '' : '[ "$1" = -V ] && exit 1\n'}${hangs}`;
  writeFileSync(join(folder, 'ssh'), program, { mode: 0o755 });
  const timers = holdTimers(t);
  const env = { PATH: `${folder}:/usr/bin:/bin`, HOME: folder };
  const processes = new SshProcesses();
  t.teardown(() => processes.endAll());
  const working = work({ processes, env, watch: new TcpWatch() });
  working.catch(() => undefined);
  await timers.until('ssh to run', () => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'));
  const pid = Number(readFileSync(file, 'utf8'));
  t.teardown(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  await timers.pass(ms);
  t.equal(isAlive(pid), true, 'it ignores SIGTERM');
  await timers.pass(1000);
  await timers.until('its end', () => !isAlive(pid));
  return working;
}

t.test('a login', async (t) => {
  const path = join(t.testdir({}), 'm');
  const options = { label: 'box', path, connectMs: 60_000 };
  const failing = hung(t, LIMITS.sshLoginMs, (deps) => login(deps, route, options));
  await t.rejects(failing, { code: 'ssh_connect_timeout' });
});

t.test('a question on the control socket of a master', async (t) => {
  const found = hung(t, LIMITS.sshControlMs, (deps) =>
    foundMaster(deps, route, { path: deps.env['PATH']?.split(':')[0] ?? '' }),
  );
  t.equal(await found, undefined);
});

t.test('the question for the version', async (t) => {
  const look = async ({ processes, env }: Deps): Promise<readonly string[]> => {
    await processes.look(env);
    return processes.newer;
  };
  t.same(await hung(t, LIMITS.sshControlMs, look, true), [], 'it is taken for an old one');
});

t.test('a question to bmux there', async (t) => {
  const there = hung(t, LIMITS.sshPreflightMs, ({ processes, env }) =>
    serverThere(route, 'box', () => Promise.resolve(processes.start([], { env, stdout: 'pipe' }))),
  );
  t.equal(await there, undefined);
});

t.test('a session that has exited, whose stdout somebody else keeps open', async (t) => {
  const folder = t.testdir({});
  const file = join(folder, 'pid');
  // As a master that is stopped.
  const program = `#!/bin/sh\nsleep 600 2>/dev/null &\necho $! > '${file}'\nprintf '\\004\\000\\000\\000abc'\nread -r _\nprintf d\n`;
  writeFileSync(join(folder, 'ssh'), program, { mode: 0o755 });
  const timers = holdTimers(t);
  const session = new SshProcesses().start([], {
    env: { PATH: `${folder}:/usr/bin:/bin` },
    stdin: 'pipe',
    stdout: 'pipe',
  });
  const stream = new SshStream({ session, route, label: 'box', lastLine: () => undefined });
  let error: Error | undefined;
  stream.once('error', (why) => (error = why));
  let read = 0;
  stream.on('data', (bytes: Buffer) => (read += bytes.length));
  await timers.until('the bytes of a session that runs', () => read === 7);
  const holder = Number(readFileSync(file, 'utf8'));
  t.teardown(() => process.kill(holder, 'SIGKILL'));
  await timers.pass(10 * LIMITS.sshLeftMs);
  stream.write('\n');
  await timers.until('its exit, and the last byte', () => session.exit !== undefined && read === 8);
  await timers.pass(LIMITS.sshLeftMs - 1);
  t.equal(error, undefined);
  await timers.pass(1);
  await timers.until('the loss', () => error !== undefined);
  t.match(error, { code: 'ssh_lost', cause: /its ssh has exited, and the master does not answer/ });
});

/** A folder with an ssh that runs until it is ended, and writes its pid to the file `pid` there. */
function lastingSsh(t: Test): { readonly folder: string; readonly env: Record<string, string> } {
  const folder = t.testdir({});
  const program = `#!/bin/sh\necho $$ > '${join(folder, 'new')}' && mv '${join(folder, 'new')}' '${join(folder, 'pid')}'\nexec sleep 600\n`;
  writeFileSync(join(folder, 'ssh'), program, { mode: 0o755 });
  return { folder, env: { PATH: `${folder}:/usr/bin:/bin` } };
}

t.test('one that is started when all were ended', async (t) => {
  const { env } = lastingSsh(t);
  const processes = new SshProcesses();
  await processes.endAll();
  t.match(await processes.start([], { env }).exited, { status: undefined }, 'it is ended, too');
});

t.test('an engine that exits before all are ended', async (t) => {
  const { folder, env } = lastingSsh(t);
  const file = join(folder, 'pid');
  const path = new URL('../../../daemon/transport/ssh/process.js', import.meta.url).href;
  const script = `
    import { existsSync } from 'node:fs';
    import { SshProcesses } from ${JSON.stringify(path)};
    new SshProcesses().start([], { env: ${JSON.stringify(env)} });
    setInterval(() => existsSync(${JSON.stringify(file)}) && process.exit(0), 20);
  `;
  const ran = await run(process.execPath, ['--input-type=module', '-e', script], env);
  t.match(ran, { status: 0 }, ran.stderr);
  const pid = Number(readFileSync(file, 'utf8'));
  t.teardown(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  await waitFor('the end of its ssh', () => !isAlive(pid));
});

t.test(
  'a drop ends what hangs, and it is done anew for those who wait',
  { skip: sshdMissing() },
  async (t) => {
    const rig = await sshRig(t);
    const { sshd } = rig;
    const [asked, mended] = [join(sshd.folder, 'asked'), join(sshd.folder, 'mended')];
    const hangs = `[ -e ${mended} ] || { touch ${asked}; while [ -e ${asked} ]; do sleep 0.1; done; exit 1; }`;
    const remoteBmuxPath = await writeProgram(sshd, 'slow', `${hangs}\n${FAKE_BMUX}`);
    const first = rig.open({ remoteBmuxPath }, 60_000);
    await waitFor('bmux there to hang', () => existsSync(asked));
    writeFileSync(mended, '');
    rig.pool.drop(rig.route());
    await answers((await first).stream);

    // A host that takes a connection and says nothing.
    const mute = createServer();
    const isOpened = once(mute, 'connection');
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    t.teardown(() => mute.close());
    const { port } = mute.address() as AddressInfo;
    await sshd.alias('moved');
    const alias = readFileSync(sshd.sshConfig, 'utf8');
    writeFileSync(sshd.sshConfig, alias.replace(String(sshd.port), String(port)));
    const { identityFile: _, knownHostsFile: __, port: ___, ...moved } = rig.route({ host: 'moved' });
    const second = rig.pool.stream(moved, waitOf(60_000));
    const [socket] = (await isOpened) as [Socket];
    const isLeft = once(socket, 'close');
    socket.on('error', () => undefined).resume();
    writeFileSync(sshd.sshConfig, alias);
    rig.pool.drop(moved);
    await answers((await second).stream);
    await isLeft;
  },
);
