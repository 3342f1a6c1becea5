// Tests that what bmuxd uses of Node beyond its documentation is there, and that a Node without it is refused by name.
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { missingInternals } from '../../daemon/base/node-internals.ts';
import { BMUXD, makeSandbox } from '../daemon/bmuxd.ts';
import { repositoryRoot } from '../real/index.ts';
import { run } from '../real/server.ts';

t.test('this Node has all of it', async (t) => {
  t.same(missingInternals(), []);
});

t.test('a Node without it', async (t) => {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  const write: unknown = Reflect.get(net.Socket.prototype, '_writev');
  t.teardown(() => {
    Reflect.set(net, '_createServerHandle', create);
    Reflect.set(net.Socket.prototype, '_writev', write);
  });
  Reflect.set(net, '_createServerHandle', undefined);
  Reflect.set(net.Socket.prototype, '_writev', undefined);
  t.same(missingInternals(), ['net._createServerHandle', 'net.Socket.prototype._writev']);
});

t.test('control refuses to start on one', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  // Stands for such a release of Node.
  const without = 'data:text/javascript,import net from "node:net"; net._createServerHandle = undefined;';
  const ran = await run(process.execPath, ['--import', without, BMUXD, 'run'], sandbox.env);
  t.match(ran, {
    status: 1,
    stderr: `Node ${process.version} lacks what bmuxd uses of it: net._createServerHandle\n`,
  });
});

t.test('nothing else of the daemon reaches into Node', async (t) => {
  const FILES = ['transport/read-buffers', 'sockets/accepted-socket', 'sockets/bind-without-listen'];
  for (const file of [...FILES, 'base/streams/drain-after-write-error', 'base/memory']) {
    const text = await readFile(join(repositoryRoot(), `daemon/${file}.ts`), 'utf8');
    t.notMatch(text, /_handle|_createServerHandle|useUserBuffer|\._write|setFlagsFromString/, file);
  }
});
