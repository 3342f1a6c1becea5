// Tests what commands say about a control process that hangs: which process it is, and the command that ends it. Live streams go on.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Duplex, PassThrough } from 'node:stream';
import t from 'tap';
import { instanceFileOf, notAnswering } from '../../daemon/api/instance-file.ts';
import { ownIdentity } from '../../daemon/base/process/identity.ts';
import type { Failure } from '../../daemon/base/failure.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { fail } from '../../daemon/errors/fail.ts';
import { events } from '../../daemon/cli/commands/events.ts';
import { unanswered } from '../../daemon/cli/reach.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { BMUXD, makeSandbox, SHIM, startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { halt, startChild, waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';

t.test('every command names the hung process within a few seconds', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const { stream, info } = await bmuxd.open();
  const client = new TestClient(stream, { epoch: info.epoch });
  await halt(bmuxd.pid);
  t.teardown(() => {
    bmuxd.signal('SIGCONT');
  });
  const commands = ['run', 'stop', 'status', 'env local', 'exec local -- true'];
  const pid = String(bmuxd.pid);
  await Promise.all(
    [...commands, 'reload', 'events'].map(async (command) => {
      const { status, stderr } = await bmuxd.bmuxd(command.split(' '));
      t.equal(status, command === 'status' ? 1 : 7, command);
      t.match(
        stderr,
        new RegExp(`^bmuxd with pid ${pid} does not answer on .*\\.sock since 20\\S*Z\\.\n`),
        command,
      );
      t.match(stderr, `\`kill -9 ${pid}\``, command);
    }),
  );
  const shim = await bmuxd.shim(['local']);
  t.match(shim.stderr, `kill -9 ${pid}`);
  await client.ping();
  bmuxd.signal('SIGCONT');
  await waitFor('an answer', async () => (await bmuxd.bmuxd(['status'])).status === 0);
});

t.test('a daemon that may open too few files closes connections at once, and commands say why', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const dir = dirname(sandbox.socketPath);
  mkdirSync(dir, { mode: 0o700 });
  const program = `const { join } = require('node:path');
    const sockets = ['control', 'streams'].map((name) => join(process.argv[1], name + '.sock'));
    const file = JSON.stringify({ pid: process.pid, sockets });
    require('node:fs').writeFileSync(join(process.argv[1], 'instance.json'), file);
    for (const path of sockets) require('node:net').createServer((socket) => socket.destroy()).listen(path);
    setTimeout(() => console.log('ready'), 0);`;
  const child = await startChild({
    command: 'sh',
    args: ['-c', 'ulimit -n 60 && exec "$0" -e "$1" "$2"', process.execPath, program, dir],
    env: sandbox.env,
    ready: (output) => output.includes('ready'),
  });
  t.teardown(() => child.stop('SIGKILL'));
  const why = /may open only 60 files each[^]*\[daemon_lost\]/;
  for (const command of ['status', 'streams'])
    t.match(await run(process.execPath, [BMUXD, command], sandbox.env), { status: 1, stderr: why }, command);
  t.match(
    await run(process.execPath, [SHIM, 'local'], sandbox.env),
    { status: 1, stderr: why },
    'bmux-stream',
  );
});

t.test('a process is named only when it is certain that it is the daemon of the socket', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const socket = join(folder, 'control.sock');
  const self = ownIdentity();
  const named = (file: unknown): string => {
    writeFileSync(instanceFileOf(socket), typeof file === 'string' ? file : JSON.stringify(file));
    const { detail, remedy } = notAnswering(socket).data;
    t.notMatch(detail + remedy, /[{}]/);
    return detail;
  };
  const pid = `with pid ${String(process.pid)}`;
  t.match(named({ ...self, sockets: [socket] }), pid);
  t.notMatch(named({ ...self, sockets: ['/another.sock'] }), pid, 'the daemon of another socket');
  t.notMatch(named('no JSON'), pid);
  if (self.start !== undefined) {
    t.notMatch(named({ ...self, start: '1', sockets: [socket] }), pid, 'a later process with the same id');
    t.notMatch(named({ ...self, namespace: 'pid:[1]', sockets: [socket] }), pid, 'of another container');
  }
  t.equal(notAnswering(join(folder, 'none', 'x.sock')).data.detail.includes('pid'), false);
  t.end();
});

t.test('bmuxd events gives up a daemon that has fallen silent', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bmuxd-'));
  mkdirSync(join(folder, 'd'), { mode: 0o700 });
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined));
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    say(': live\n\n');
  });
  const say = (text: string): void => {
    sockets[0]?.write(`${text.length.toString(16)}\r\n${text}\r\n`);
  };
  await new Promise<void>((resolve) => server.listen(join(folder, 'd', 'control.sock'), resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const timers = holdTimers(t);
  let printed = '';
  const stdout = new PassThrough();
  const running = events({
    env: { HOME: folder, BMUXD_RUNTIME_DIR: join(folder, 'd') },
    options: {},
    stdout: stdout as unknown as NodeJS.WriteStream,
    out: (text: string) => (printed += text),
  } as unknown as Parameters<typeof events>[0]);
  const failed = t.rejects(running, { code: 'daemon_not_answering' });
  let ended = false;
  running.catch(() => (ended = true));
  const event = async (target: string): Promise<void> => {
    say(`data: ${JSON.stringify({ schema: 1, atMs: 1, type: 'connection lost', target })}\n\n`);
    await timers.until(target, () => printed.includes(target));
  };
  await timers.until('the request', () => sockets.length > 0);
  await event('one');
  await timers.pass(LIMITS.eventsSilentMs - 1);
  await event('two');
  await timers.pass(LIMITS.eventsSilentMs - 1);
  t.equal(ended, false, 'each byte counts');
  await timers.pass(1);
  await failed;
});

t.test('a Ping that is not answered counts as not reached', async (t) => {
  const mute = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const timers = holdTimers(t);
  let why: Failure | undefined;
  const asked = unanswered(mute, 4).then((reason) => (why = reason));
  await timers.pass(LIMITS.reachMs - 1);
  t.equal(why, undefined);
  await timers.pass(1);
  await asked;
  t.match(why, { code: 'ping_timeout', message: /no answer to a Ping within 20000 ms/ });
});

t.test('a stream that was lost under a Ping is told once', async (t) => {
  const lost = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const asked = unanswered(lost, 4);
  lost.destroy(fail('stream_lost', { why: 'its engine has died' }));
  t.match(await asked, {
    code: 'stream_lost',
    message: /^the stream through bmuxd broke: its engine has died$/,
  });
});
