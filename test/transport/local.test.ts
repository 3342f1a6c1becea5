// The local transport: the errors for a missing socket and for one without access.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { errnoOf } from '../../daemon/base/failure.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import { openLocal } from '../../daemon/transport/local.ts';
import { failureOf, readAll, within } from './dialling.ts';

/**
 * A server that ends its stream and then accepts nothing for a while, as the kernel ends a killed process: its streams are closed before the
 * socket on which it listens.
 */
const MORTAL = `
const [path, fate] = process.argv.slice(1);
const server = require('node:net').createServer({ allowHalfOpen: false }, (stream) => {
  stream.on('error', () => undefined).once('data', () => {
    if (fate === 'lives') return stream.end();
    stream._handle.close();
    if (fate === 'hangs') return process.kill(process.pid, 'SIGSTOP');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    if (fate === 'exits') require('node:fs').unlinkSync(path);
    process.kill(process.pid, 'SIGKILL');
  });
});
server.listen(path, () => console.log('listens'));
`;

t.test('local sockets', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-local-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const open = (name: string, ms = 5000) =>
    openLocal({ transport: 'local', socketPath: join(folder, name) }, within(ms));

  t.test('no socket, and a file that is none, mean that no server runs', async (t) => {
    t.equal((await failureOf(open('missing'))).code, 'server_not_running');
    await writeFile(join(folder, 'plain'), '');
    t.equal((await failureOf(open('plain'))).code, 'server_not_running');
  });

  t.test('a path that the system would cut is refused, not dialled', async (t) => {
    const failure = await failureOf(open('x'.repeat(120)));
    t.equal(failure.code, 'server_socket_failed');
    t.match(failure.data.causes[0], /bytes long; the system takes/);
  });

  t.test('nothing is sent where another user can replace the socket', async (t) => {
    const shared = join(folder, 'shared');
    await mkdir(shared);
    let heard = 0;
    const server = createServer((socket) => {
      heard += 1;
      socket.end();
    });
    await new Promise<void>((resolve) => server.listen(join(shared, 'server.sock'), resolve));
    t.teardown(() => server.close());
    await chmod(shared, 0o777);
    const failure = await failureOf(open('shared/server.sock'));
    t.equal(failure.code, 'server_socket_insecure');
    t.match(failure.message, `${shared} can be changed by others (mode 0777)`);
    await chmod(shared, 0o755);
    if (process.getuid?.() === 0) {
      await chown(join(shared, 'server.sock'), 65_534, 65_534);
      t.match((await failureOf(open('shared/server.sock'))).message, /server\.sock belongs to user 65534/);
      await chown(join(shared, 'server.sock'), 0, 0);
    }
    t.equal(heard, 0);
    // bmux makes its folder so with umask 002.
    await chmod(shared, 0o775);
    (await open('shared/server.sock')).destroy();
  });

  t.test('answers after our end still arrive', async (t) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      void readAll(socket).then((bytes) => socket.end(`got ${bytes.toString()}`));
    });
    await new Promise<void>((resolve) => server.listen(join(folder, 'live'), resolve));
    t.teardown(() => server.close());
    const stream = await open('live');
    stream.end('question');
    t.equal((await readAll(stream)).toString(), 'got question');
  });

  t.test('an end is bounded when the peer never ends', async (t) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.resume();
      socket.on('error', () => undefined);
      t.teardown(() => socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(join(folder, 'deaf'), resolve));
    t.teardown(() => server.close());
    const stream = await open('deaf');
    const start = performance.now();
    await endGracefully(stream, 200);
    t.ok(stream.destroyed);
    t.ok(performance.now() - start >= 190, 'it waited for the bound');
    await endGracefully(stream, 200);
  });

  t.test(
    'an end is lost when the server dies after it, and proper when the server lives, exits or hangs',
    async (t) => {
      for (const [fate, expected] of [
        ['lives', 'end'],
        ['exits', 'end'],
        ['hangs', 'end'],
        ['dies', 'ECONNRESET'],
      ] as const) {
        const server = spawn(process.execPath, ['-e', MORTAL, join(folder, fate), fate]);
        t.teardown(() => server.kill('SIGKILL'));
        await once(server.stdout, 'data');
        const stream = await open(fate);
        const ended = new Promise((resolve) => {
          stream.once('end', () => resolve('end')).once('error', (error) => resolve(errnoOf(error)));
        });
        stream.resume().write('end');
        t.equal(await ended, expected, fate);
        stream.destroy();
      }
    },
  );

  t.test('an abort ends the attempt with its own reason', async (t) => {
    const reason = new Error('the client has gone');
    await t.rejects(
      openLocal(
        { transport: 'local', socketPath: join(folder, 'missing') },
        within(5000, AbortSignal.abort(reason)),
      ),
      reason,
    );
  });
});
