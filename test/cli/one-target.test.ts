// Tests what commands say of one target: `bmuxd ping`, `bmuxd status TARGET`, and the events that `bmuxd events` selects.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { BMUXD, startBmuxd } from '../daemon/bmuxd.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { run } from '../real/index.ts';

t.test('ping, status of a target, events', async (t) => {
  const bmuxd = await startBmuxd({
    config: '[connections.targets.far]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
  });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());

  await t.test('status of a target that nobody has asked for', async (t) => {
    t.match(await bmuxd.bmuxd(['status', 'far']), {
      status: 0,
      stdout: /^far \(tls\)\n {2}address +tls:127\.0\.0\.1:1\n {2}state +cold: /,
    });
    t.match(await bmuxd.bmuxd(['status', 'fra']), {
      status: 2,
      stderr: /^target 'fra' is not configured; did you mean far\?\n.* \[target_unknown\]\n$/,
    });
    t.match(await bmuxd.bmuxd(['status', 'far', '--wait', '1']), { status: 2 });
  });

  await t.test('ping', async (t) => {
    const two = await bmuxd.bmuxd(['ping', 'local', '-c', '2']);
    t.match(two, {
      status: 0,
      stderr: '',
      stdout:
        /^local \(local, epoch 4, .*\): first answer after [\d.]+ ms\nround trip 1 to local: [\d.]+ ms\nround trip 2 .*\nmin [\d.]+ ms, mean [\d.]+ ms, max [\d.]+ ms\n$/,
    });
    const json = JSON.parse((await bmuxd.bmuxd(['ping', '--json', '-c', '1', 'local'])).stdout) as unknown;
    t.match(json, { schema: 1, target: 'local', transport: 'local', epoch: 4, openMs: Number });
    t.match(json, { roundTripsMs: { length: 1 } });
    t.match(JSON.stringify(json), /"roundTripsMs":\[\d+(?:\.\d{1,3})?\]/);
    t.match(await bmuxd.bmuxd(['ping', 'far']), { status: 1, stdout: '', stderr: /\[tls_unreachable\]\n$/ });
    t.match(await bmuxd.bmuxd(['ping', 'fra']), { status: 2, stderr: /did you mean far/ });
    t.match(await bmuxd.bmuxd(['ping', 'local', '-c', '0']), {
      status: 2,
      stderr: "bmuxd ping: --count: '0' is not a whole number from 1 to 1000000",
    });
  });

  await t.test('status of a used and of a failing target', async (t) => {
    t.match(await bmuxd.bmuxd(['status', 'local']), {
      status: 0,
      stdout: /^local \(local\)\n[^]* {2}epoch +4\n[^]* {2}last stream +\d+ s ago\n/,
    });
    t.match(await bmuxd.bmuxd(['status', 'far']), {
      status: 1,
      stdout: / {2}state +failing for \d+ s\n[^]* {2}last error +\d+ s ago: \[tls_unreachable\]\n/,
    });
    const json = JSON.parse((await bmuxd.bmuxd(['status', 'far', '--json'])).stdout) as unknown;
    t.match(json, {
      schema: 1,
      target: { name: 'far', address: 'tls:127.0.0.1:1' },
      upstream: { state: 'failing', lastError: { code: 'tls_unreachable' } },
    });
  });

  await t.test('status --watch goes on until its reader leaves', async (t) => {
    const child = spawn(process.execPath, [BMUXD, 'status', '--watch', '--json'], {
      env: bmuxd.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const lines: string[] = [];
    const exited = once(child, 'exit');
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line);
      if (lines.length === 2) break;
    }
    for (const line of lines) t.match(JSON.parse(line), { state: 'ready', upstreams: [], liveStreams: [] });
    child.stdout.destroy();
    t.same(await exited, [0, null]);
    t.equal(said, '');
  });

  await t.test('events: the last ones, those since a time, and no others', async (t) => {
    const lines = async (...args: string[]) => {
      const ran = await bmuxd.bmuxd(['events', '--no-follow', ...args]);
      t.match(ran, { status: 0, stderr: '' });
      return ran.stdout.split('\n').slice(0, -1);
    };
    const all = await lines();
    t.ok(all.length > 3, all.join('\n'));
    t.same(await lines('-n', '2'), all.slice(-2));
    t.same(await lines('-n', '0'), []);
    t.same(await lines('--since', '1h'), all);
    t.same(await lines('--since', '2100-01-01'), []);
    const documents = (await lines('--json', '-n', '3')).map((line) => JSON.parse(line) as { atMs: number });
    t.equal(documents.length, 3);
    const middle = new Date(documents[1]?.atMs ?? 0).toISOString();
    const since = await lines('--since', middle);
    t.ok(since.length < all.length && since.length >= 2, `${String(since.length)} since ${middle}`);
    t.match(await bmuxd.bmuxd(['events', '--since', 'noon']), { status: 2, stderr: /is not a time such as/ });
  });

  await t.test(
    'events ends with its reader, and not at the next event',
    { skip: process.platform !== 'linux' && 'elsewhere the next write tells' },
    async (t) => {
      const script = '{ "$BMUXD" events --json; echo "status $?" >&2; } | head -1';
      const env = { ...bmuxd.env, PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`, BMUXD };
      const ran = await run('/bin/sh', ['-c', script], env);
      t.match(JSON.parse(ran.stdout), { atMs: Number });
      t.equal(ran.stderr, 'status 0\n');
    },
  );

  await t.test('the list of trusted gateways as JSON', async (t) => {
    const { stdout } = await bmuxd.bmuxd(['trust', 'list', '--json']);
    t.match(JSON.parse(stdout), { schema: 1, mode: 'prompt', gateways: [] });
  });
});
