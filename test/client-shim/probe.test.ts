// Tests how a client tells a daemon that hangs from one that gets no CPU.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isAnswering } from '../../client-shim/probe.ts';
import { instanceFileOf } from '../../daemon/api/instance-file.ts';
import { crowd, noCrowd } from '../base/crowd.ts';

/** A socket of the process `pid` that is silent on the first `silent` connections, and answers the later ones. */
async function socketOf(
  t: Test,
  pid: number,
  silent: number,
): Promise<{ path: string; count: () => number }> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-probe-'));
  const path = join(folder, 'control.sock');
  await writeFile(instanceFileOf(path), JSON.stringify({ pid, sockets: [path] }));
  const held: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    if (held.push(socket) > silent) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(async () => {
    for (const socket of held) socket.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });
  return { path, count: () => held.length };
}

t.test('a process that waits for a CPU is asked again', { skip: noCrowd }, async (t) => {
  const [busy] = crowd(t);
  const { path, count } = await socketOf(t, busy?.pid ?? 0, 4);
  t.equal(await isAnswering(path), true);
  t.equal(count(), 5);
});

t.test('but not for ever', { skip: noCrowd }, async (t) => {
  const [busy] = crowd(t);
  const { path, count } = await socketOf(t, busy?.pid ?? 0, Infinity);
  t.equal(await isAnswering(path), false);
  t.ok(count() > 2);
});

t.test('one that sleeps is asked twice', async (t) => {
  const asleep = spawn('sleep', ['600']);
  t.teardown(() => asleep.kill('SIGKILL'));
  const { path, count } = await socketOf(t, asleep.pid ?? 0, Infinity);
  t.equal(await isAnswering(path), false);
  t.equal(count(), 2);
});
