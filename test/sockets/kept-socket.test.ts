// Tests that a removed socket file is bound again if the owner agrees, and that `close` removes the file only if it has not been replaced.
import { lstat, rename, unlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { httpRequest } from '../../daemon/sockets/http-request.ts';
import { KeptSocket, type KeptSocketOptions } from '../../daemon/sockets/kept-socket.ts';
import { waitFor } from '../real/child.ts';

interface Rig {
  readonly server: Server;
  readonly path: string;
  readonly options: KeptSocketOptions;
  readonly errors: unknown[];
}

async function rig(t: Test, more: Partial<KeptSocketOptions> = {}): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'kept-'));
  const path = join(folder, 'x.sock');
  const server = createServer((_request, response) => response.end('{"here":true}'));
  const errors: unknown[] = [];
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  const options: KeptSocketOptions = {
    server,
    path,
    direct: true,
    whenGone: (bindAgain) => bindAgain(),
    onError: (error) => errors.push(error),
    ...more,
  };
  return { server, path, options, errors };
}

const answers = async (path: string): Promise<boolean> => {
  const question = { socketPath: path, method: 'GET', path: '/', timeoutMs: 1000 } as const;
  const body = await httpRequest(question).then(
    (answer) => answer.body,
    () => undefined,
  );
  return typeof body === 'object' && body !== null && 'here' in body;
};

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

t.test('a removed socket is bound again each time, and `close` removes it', async (t) => {
  for (const direct of [true, false]) {
    const { server, path, options, errors } = await rig(t, { direct });
    const kept = await KeptSocket.bind(options);
    t.equal(server.listening, direct);
    t.ok(await answers(path));
    for (const _ of [1, 2]) {
      await unlink(path);
      t.equal(await kept.isThere(), false);
      await waitFor('the socket to be bound again', () => isThere(path));
      t.ok(await answers(path));
    }
    await Promise.all([kept.look(), kept.look()]);
    await kept.close();
    await kept.close();
    t.equal(await isThere(path), false);
    t.same(errors, []);
  }
});

t.test('the owner decides at every check whether to bind, and gets the errors', async (t) => {
  let mayBind = false;
  let asked = 0;
  let looked = 0;
  const { path, options, errors } = await rig(t, {
    onLook: async () => {
      looked += 1;
    },
    whenGone: async (bindAgain) => {
      asked += 1;
      if (asked === 1) throw new Error('no');
      if (mayBind) await bindAgain();
    },
  });
  const kept = await KeptSocket.bind(options);
  await kept.look();
  t.same([asked, looked >= 1], [0, true]);
  await unlink(path);
  await kept.look();
  t.match(errors, [{ message: 'no' }]);
  await kept.look();
  t.equal(await isThere(path), false);
  mayBind = true;
  await kept.look();
  t.ok(await answers(path));
  await kept.close();
});

t.test('`close` does not remove a file that has replaced the socket', async (t) => {
  const { path, options } = await rig(t, { whenGone: async () => undefined });
  const kept = await KeptSocket.bind(options);
  await writeFile(`${path}.new`, '');
  await rename(`${path}.new`, path);
  await kept.look();
  t.equal(await kept.isThere(), false);
  await kept.close();
  t.ok((await lstat(path)).isFile());
});

t.test('`close` during a bind leaves no socket file', async (t) => {
  const { path, options } = await rig(t);
  const kept = await KeptSocket.bind(options);
  await unlink(path);
  const looking = kept.look();
  await new Promise((resolve) => setImmediate(resolve));
  await kept.close();
  await looking;
  t.equal(await isThere(path), false);
});
