// How a client learns of the end of its stream from an engine that withholds the answer.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { whyLost } from '../../client-shim/probe.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';

/** Asks an engine that does `serve` with each connection. */
async function asked(t: Test, serve: (socket: Socket) => void): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-lost-'));
  await mkdir(join(folder, 'engines'), { mode: 0o700 });
  const held = new Set<Socket>();
  const engine = createServer((socket) => {
    held.add(socket.on('error', () => undefined));
    serve(socket);
  });
  await new Promise<void>((resolve) => engine.listen(join(folder, 'engines', 'g1.sock'), resolve));
  t.teardown(async () => {
    for (const socket of held) socket.destroy();
    engine.close();
    await rm(folder, { recursive: true });
  });
  const env = { HOME: folder, BMUXD_RUNTIME_DIR: folder };
  return whyLost('g1-7', { controlSocket: join(folder, 'control.sock'), env });
}

t.test('an engine that says nothing', async (t) => {
  t.equal(await asked(t, () => undefined), 'its engine does not answer');
});

t.test('an engine that closes without an answer is asked again, and not for ever', async (t) => {
  let connections = 0;
  const reason = await asked(t, (socket) => {
    connections += 1;
    socket.end();
  });
  t.equal(reason, 'nothing is known of its end');
  t.ok(connections > 2, `${connections} times`);
});

t.test(
  'the socket of an engine that a cleaner has removed is waited for, while nobody can be asked',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bmuxd-lost-'));
    t.teardown(() => rm(folder, { recursive: true }));
    const env = { HOME: folder, BMUXD_RUNTIME_DIR: folder };
    const asking = whyLost('g1-7', { controlSocket: join(folder, 'control.sock'), env });
    // It has found nobody by then.
    await sleep(0);
    await mkdir(join(folder, 'engines'), { mode: 0o700 });
    const engine = createHttpServer((_, response) =>
      response.end(JSON.stringify({ schema: 1, known: true })),
    );
    await new Promise<void>((resolve) => engine.listen(join(folder, 'engines', 'g1.sock'), resolve));
    t.teardown(() => engine.close());
    t.equal(await asking, undefined);
  },
);
