// Tests that a peer that has vanished is given up, and one that is stopped is not: with the kernel's own counts, on a way that is cut.
import { spawn } from 'node:child_process';
import { createConnection, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { far, halt, waitFor } from '../../real/index.ts';
import { backoffOf, optionOf, TCP_RTO_MAX_MS } from './kernel.ts';

/** An echo server in a process of its own. */
async function echo(
  t: Test,
  before: readonly string[],
  host: string,
): Promise<{ readonly port: number; readonly pid: number }> {
  const text = `const s = require('net').createServer((c) => c.on('error', () => {}).pipe(c));
    s.listen(0, '${host}', () => console.log(process.pid, s.address().port));`;
  const [command, ...args] = [...before, process.execPath, '-e', text];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const said = await new Promise<string>((resolve, reject) => {
    child.once('error', reject).once('exit', () => reject(new Error('the echo server has ended')));
    child.stdout.once('data', (bytes: Buffer) => resolve(bytes.toString()));
  });
  const [pid = 0, port = 0] = said.trim().split(' ').map(Number);
  return { pid, port };
}

t.test(
  'a broken way, and a peer that is stopped',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const broken = await far(t);
    if (broken === undefined) {
      t.pass('# SKIP: a network namespace cannot be made here');
      return;
    }
    const stopped = await echo(t, [], '127.0.0.1');
    const watch = new TcpWatch();
    const there = await echo(t, broken.command, broken.host);
    const connect = async (host: string, port: number): Promise<Socket> => {
      const socket = createConnection(port, host).on('error', () => undefined);
      t.teardown(() => socket.destroy());
      await new Promise<unknown>((resolve) => socket.write('x', resolve));
      await new Promise<unknown>((resolve) => socket.once('data', resolve));
      watch.add(socket);
      return socket;
    };
    const lost = await connect(broken.host, there.port);
    const waiting = await connect('127.0.0.1', stopped.port);
    const full = await connect(broken.host, there.port);
    full.pause().write(Buffer.alloc(20_000_000));
    // Pauses without a limit would be 100 s long.
    if (optionOf(full, TCP_RTO_MAX_MS) === undefined) t.comment('this kernel asks rarely');
    else await waitFor('a full window to be asked nine times', () => backoffOf(full) >= 9);
    t.equal(full.destroyed, false, 'a peer that answers such questions');
    await broken.cut();
    await broken.forget();
    await halt(stopped.pid);
    t.teardown(() => process.kill(stopped.pid, 'SIGCONT'));
    const since = performance.now();
    const errorOf = (socket: Socket): Promise<string | undefined> =>
      new Promise((resolve) => socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)));
    const told = errorOf(lost);
    const fullTold = errorOf(full);
    lost.write('y');
    waiting.write(Buffer.alloc(20_000_000));
    t.equal(await told, 'ETIMEDOUT');
    t.comment(`told after ${String(Math.round(performance.now() - since))} ms`);
    if (optionOf(waiting, TCP_RTO_MAX_MS) !== undefined) {
      t.equal(await fullTold, 'ETIMEDOUT');
      t.comment(`of the full window after ${String(Math.round(performance.now() - since))} ms`);
    }
    t.equal(waiting.writableEnded, false, 'the kernel of a stopped peer acknowledges');
  },
);
