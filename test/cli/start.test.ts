// Tests `bmuxd start`, `bmuxd logs`, and commands that start the daemon when none runs.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { appendFile, mkdir, open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { takeBuffered } from '../../daemon/base/streams/take-buffered.ts';
import t, { type Test } from 'tap';
import { FollowedFile } from '../../daemon/cli/service/followed-file.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { spawnDaemon } from '../../daemon/cli/service/start.ts';
import { installedService } from '../../daemon/cli/service/installed.ts';
import { controlSink } from '../../daemon/control/instance/stderr-sink.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { BMUXD, makeSandbox, type BmuxdOptions, type Sandbox } from '../daemon/bmuxd.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { isAlive, waitFor } from '../real/child.ts';
import { run, type Ran } from '../real/server.ts';

interface Started extends Sandbox {
  readonly bmuxd: (...args: string[]) => Promise<Ran>;
  readonly log: string;
}

/** Folders in which `bmuxd` finds no daemon. One that is started there ends with the test. */
async function sandbox(t: Test, options: BmuxdOptions = {}): Promise<Started> {
  const made = await makeSandbox(options);
  const bmuxd = (...args: string[]): Promise<Ran> => run(process.execPath, [BMUXD, ...args], made.env);
  t.teardown(async () => {
    await bmuxd('stop');
    await made.remove();
  });
  return { ...made, bmuxd, log: join(made.folder, 'xdg-state', 'bmuxd', 'daemon.log') };
}

t.test('start returns when target sockets listen, and once more does nothing', async (t) => {
  const { bmuxd, log, folder } = await sandbox(t, {
    config: '[connections.targets.gone]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
  });
  const both = await Promise.all([bmuxd('start'), bmuxd('start')]);
  for (const ran of both) t.match(ran, { status: 0, stderr: '' });
  t.ok((await stat(join(folder, 'd', 'targets', 'gone', 'server.sock'))).isSocket());
  const text = both.map(({ stdout }) => stdout).join('');
  t.match(text, /^bmuxd has started: ready, pid \d+, log \S+daemon\.log$/m);
  const again = await bmuxd('start');
  t.match(again, { status: 0, stdout: /^bmuxd is running already: ready, pid \d+/ });
  t.equal((await stat(log)).mode & 0o777, 0o600);
  const logs = await bmuxd('logs', '-n', '1000');
  t.same(logs, { status: 0, stdout: await readFile(log, 'utf8'), stderr: '' });
  t.match(logs.stdout, /"msg":"streams are accepted"/);
  t.equal((await bmuxd('logs', '-n', '1')).stdout.split('\n').length, 2, 'one line');
  t.equal((await bmuxd('stop')).status, 0);
  t.match(await bmuxd('logs'), { status: 0, stdout: /"msg":"bmuxd exits/ }, 'the log of the last one');
});

t.test('start beside a daemon that is just being killed', async (t) => {
  const { bmuxd, folder, socketPath } = await sandbox(t);
  await mkdir(join(folder, 'd'), { mode: 0o700 });
  // It takes the question with it.
  const dying = createServer((socket) => {
    socket.once('data', () => {
      dying.close();
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => dying.listen(socketPath, resolve));
  t.match(await bmuxd('start'), { status: 0, stdout: /^bmuxd has started: ready/, stderr: '' });
});

t.test('no daemon is started for a name that is not there', async (t) => {
  const { bmuxd } = await sandbox(t, {
    config: '[connections.targets.prod]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
  });
  for (const args of [
    ['exec', 'pord', '--', 'true'],
    ['env', 'pord'],
    ['attach', 'pord'],
  ]) {
    const ran = await bmuxd(...args);
    t.match(
      ran,
      { status: 2, stderr: /^target 'pord' is not configured; did you mean prod\?\n/ },
      args.join(' '),
    );
  }
  t.equal((await bmuxd('status')).status, 3, 'not running');
  t.match(await bmuxd('exec', 'prod', '--', 'true'), { status: 1, stderr: /tls_unreachable/ });
  t.not((await bmuxd('status')).status, 3, 'it runs for a name that is there');
});

t.test('a start that fails says why', async (t) => {
  const { bmuxd, env, folder } = await sandbox(t);
  await writeFile(join(folder, 'd'), 'a file where the runtime dir should be');
  t.match(await bmuxd('start'), {
    status: 1,
    stdout: '',
    stderr: /^bmuxd could not be started: exit status 6\n[^]* is not a folder\n[^]*daemon\.log/,
  });
  await writeFile(join(folder, 'state-file'), '');
  t.match(
    await run(process.execPath, [BMUXD, 'start'], { ...env, XDG_STATE_HOME: join(folder, 'state-file') }),
    {
      status: 1,
      stdout: '',
      stderr: /^bmuxd could not be started: ENOTDIR: [^]*\[daemon_unstarted\]\n$/,
    },
  );
  t.match(await run(process.execPath, [BMUXD, 'logs'], { ...env, XDG_STATE_HOME: join(folder, 'none') }), {
    status: 1,
    stderr: /^there is no log yet: /,
  });
  await mkdir(join(folder, 'odd', 'bmuxd', 'daemon.log'), { recursive: true });
  t.match(await run(process.execPath, [BMUXD, 'logs'], { ...env, XDG_STATE_HOME: join(folder, 'odd') }), {
    status: 1,
    stderr: /^the log \S+daemon\.log cannot be read: EISDIR: [^]*\[log_unreadable\]\n$/,
  });
});

t.test('a daemon that does not get ready is named and left alone', async (t) => {
  const { env, folder } = await sandbox(t);
  const [halting, file] = [join(folder, 'halt.cjs'), join(folder, 'pid')];
  await writeFile(
    halting,
    "require('fs').writeFileSync(process.env.FILE, `${process.pid}\n`); process.kill(process.pid, 'SIGSTOP');",
  );
  const timers = holdTimers(t);
  const start = spawnDaemon({ ...env, FILE: file, NODE_OPTIONS: `--require=${halting}` }, folder, []);
  const failed = t.rejects(start, { code: 'daemon_unstarted', message: /not ready after 20000 ms/ });
  await timers.until('the process', () => existsSync(file) && readFileSync(file, 'utf8') !== '');
  const pid = Number(readFileSync(file, 'utf8'));
  t.teardown(() => process.kill(pid, 'SIGKILL'));
  await timers.pass(LIMITS.startMs);
  await failed;
  t.equal(isAlive(pid), true);
  t.notOk(process.getActiveResourcesInfo().includes('ProcessWrap'), 'nobody waits for its end');
});

t.test('a daemon from which another one takes over before it is ready', async (t) => {
  const { bmuxd, env, folder } = await sandbox(t);
  const leaving = join(folder, 'leave.cjs');
  await writeFile(leaving, 'process.exit(0);');
  const leaves = { ...env, NODE_OPTIONS: `--require=${leaving}` };
  await t.rejects(spawnDaemon(leaves, folder, []), { code: 'daemon_unstarted', message: /it has ended/ });
  t.equal((await bmuxd('start')).status, 0);
  t.match(await spawnDaemon(leaves, folder, []), { isNew: false, health: { state: 'ready' } });
});

t.test('exec and env start the daemon unless that is turned off', async (t) => {
  const { bmuxd, env, folder } = await sandbox(t);
  const server = await EmbeddedServer.start({ socketPath: join(folder, 'run', 'server.sock'), epoch: 4 });
  t.teardown(() => server.stop());
  const missing = { status: 3, stdout: '', stderr: /^bmuxd is not running/ };
  t.match(await bmuxd('exec', 'local', '--no-start', '--', 'true'), missing);
  const settings = env['BMUXD_CONFIG'] ?? '';
  await writeFile(settings, 'autostart = false\n');
  t.match(await bmuxd('env', 'local'), { ...missing, stdout: 'false\n' });
  await writeFile(settings, 'autostart = "auto"\n');
  const units = join(env['HOME'] ?? '', '.config', 'systemd', 'user');
  const agents = join(env['HOME'] ?? '', 'Library', 'LaunchAgents');
  for (const path of [units, agents]) await mkdir(path, { recursive: true });
  await writeFile(join(units, 'bmuxd.service'), '');
  await writeFile(join(agents, 'dev.bmux.bmuxd.plist'), '');
  t.match(await bmuxd('env', 'local'), { ...missing, stdout: 'false\n' }, 'a service is installed');
  await writeFile(settings, 'autostart = true\n');
  t.match(await bmuxd('exec', 'local', '--', 'echo', 'works'), { status: 0, stdout: 'works\n', stderr: '' });
});

t.test('the service of this user is found', async (t) => {
  const { env, folder } = await sandbox(t);
  const agent = join(folder, 'home', 'Library', 'LaunchAgents', 'dev.bmux.bmuxd.plist');
  t.equal(installedService(env, 'darwin'), undefined);
  await mkdir(join(agent, '..'), { recursive: true });
  await writeFile(agent, '');
  t.match(installedService(env, 'darwin'), { manager: 'launchd', file: agent, log: /Logs\/bmuxd/ });
  const config = join(folder, 'elsewhere');
  await mkdir(join(config, 'systemd', 'user'), { recursive: true });
  await writeFile(join(config, 'systemd', 'user', 'bmuxd.service'), '');
  t.match(installedService({ ...env, XDG_CONFIG_HOME: config }, 'linux'), {
    manager: 'systemd',
    log: 'journal',
  });
});

t.test('a log is followed into the next file, and characters stay whole', async (t) => {
  const { folder } = await sandbox(t);
  const path = join(folder, 'x.log');
  const lines: string[] = [];
  await writeFile(`${path}.1`, 'a\nb\n');
  await writeFile(path, 'c\n');
  let gaps = 0;
  const followed = new FollowedFile({ path, show: (line) => lines.push(line), onGap: () => (gaps += 1) });
  await followed.last(2);
  t.same(lines.splice(0), ['b', 'c']);
  const stop = new AbortController();
  const ended = followed.follow(stop.signal);
  await appendFile(path, Buffer.from('é\n').subarray(0, 1));
  await appendFile(path, Buffer.from('é\nd\n').subarray(1));
  await waitFor('the line', () => lines.includes('d'));
  await appendFile(path, 'e\n');
  await rename(path, `${path}.1`);
  await writeFile(path, 'f\n');
  await waitFor('the line of the next file', () => lines.includes('f'));
  t.same(lines, ['é', 'd', 'e', 'f']);
  t.equal(gaps, 0);
  await appendFile(path, 'x\nhalf');
  await waitFor('the line before the half one', () => lines.includes('x'));
  await writeFile(path, 'g\n');
  await waitFor('the line after the file was emptied', () => lines.includes('g'));
  t.same(lines, ['é', 'd', 'e', 'f', 'x', 'half', 'g'], 'a line without an end stays one of its own');
  t.equal(gaps, 1, 'what was emptied may have held more');
  // Between two looks, as after Ctrl-Z. Without an open file the last one would get the number of the first.
  for (const text of ['h\n', 'i\n']) {
    renameSync(path, `${path}.1`);
    writeFileSync(path, text);
  }
  await waitFor('the line of the last file', () => lines.includes('i'));
  t.equal(gaps, 2);
  // Emptied between two looks, and longer again than before.
  lines.length = 0;
  writeFileSync(path, 'j\nk\nl\n');
  await waitFor('the last line', () => lines.includes('l'));
  t.same(lines, ['j', 'k', 'l']);
  t.equal(gaps, 3);
  await appendFile(path, 'm\n');
  await waitFor('the line after them', () => lines.includes('m'));
  t.same([lines, gaps], [['j', 'k', 'l', 'm'], 3]);
  stop.abort();
  await ended;
});

t.test('logs -f ends by a signal', async (t) => {
  const { env, log } = await sandbox(t);
  await mkdir(join(log, '..'), { recursive: true });
  await writeFile(log, '{"level":"info","msg":"x"}\n');
  const child = spawn(process.execPath, [BMUXD, 'logs', '-f'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await waitFor('the line', () => text.includes('"msg":"x"'));
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGINT');
  t.equal(await closed, 0);
});

t.test('lines for the journal begin with their priority', async (t) => {
  const { folder } = await sandbox(t);
  const path = join(folder, 'journal');
  await writeFile(path, '');
  const { dev, ino } = await stat(path, { bigint: true });
  const stream = new PassThrough();
  const file = await open(path);
  t.teardown(() => file.close());
  const stderr = Object.assign(stream, { fd: file.fd }) as unknown as NodeJS.WriteStream & { fd: number };
  const sink = controlSink({ stderr, journalStream: `${String(dev)}:${String(ino)}` });
  t.equal(sink.place, 'journal');
  sink.write('{"level":"error","msg":"a"}\n{"level":"info","msg":"b"}\n');
  sink.write('no JSON\n');
  // Node 26 reads one chunk at a time.
  t.equal(
    Buffer.concat([...takeBuffered(stream)]).toString(),
    '<3>{"level":"error","msg":"a"}\n<6>{"level":"info","msg":"b"}\nno JSON\n',
  );
  const other = controlSink({ stderr, journalStream: '1:1' });
  t.equal(other.place, 'stderr', 'stderr was redirected after systemd had set the variable');
});
