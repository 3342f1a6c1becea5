// Tests the names of target sockets: safe, short enough, and different for each target.
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { folderName, makeTargetSocketFolder } from '../../../daemon/control/target-sockets/folder.ts';
import { maxSocketPath } from '../../../daemon/base/files/socket-path.ts';
import { failureOf } from '../../transport/dialling.ts';
import { answerAt, make, named, parentFor } from './folders.ts';

t.test('a safe name is kept, any other one gets a hash', async (t) => {
  for (const name of ['prod', 'a', 'eu-west.1_b', '0']) t.equal(folderName('/run/x', name), name);
  for (const name of [
    'Prod',
    'PROD',
    '.hidden',
    '..',
    '.',
    'a/b',
    'a b',
    '',
    '-x',
    'é',
    'tls://h:1',
    'n'.repeat(99),
  ])
    t.match(folderName('/run/x', name), /^[A-Za-z0-9_][A-Za-z0-9_-]*[0-9a-f]{10}$/, name);
  t.not(folderName('/run/x', 'Prod').toLowerCase(), folderName('/run/x', 'PROD').toLowerCase());
  t.match(folderName('/run/x', 'tls://example.com:7443'), /^example-com-7443-/);
});

t.test('for any name and folder the result is one path component, short enough and unique', async () => {
  const name = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 120 }),
    fc.stringMatching(/^[a-zA-Z0-9._/:-]{0,120}$/),
  );
  fc.assert(
    fc.property(name, name, fc.integer({ min: 1, max: 82 }), (one, other, depth) => {
      const parent = `/${'p'.repeat(depth)}`;
      const folder = folderName(parent, one, 107);
      const path = join(parent, folder, 'server.sock');
      const fine =
        /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(folder) &&
        Buffer.byteLength(path) <= 107 &&
        folder === folderName(parent, one, 107);
      return fine && (one === other || folder.toLowerCase() !== folderName(parent, other, 107).toLowerCase());
    }),
    { numRuns: 500 },
  );
});

t.test('a folder whose path is too long is refused before anything is made', async (t) => {
  const limit = maxSocketPath();
  const parent = await parentFor(t);
  const deep = join(parent, 'd'.repeat(limit - Buffer.byteLength(join(parent, 'x', 'x', 'server.sock')) + 1));
  // A name of one character would fit, but not the longer name under which the socket is bound at first.
  for (const name of ['p', 'production', 'x'.repeat(200)]) {
    const failure = await failureOf(makeTargetSocketFolder(deep, name, named(t, name)));
    t.equal(failure.code, 'socket_path_too_long', name);
    t.match(failure.message, String(limit));
  }
  t.throws(() => folderName(`/${'p'.repeat(90)}`, 'production', 107), { code: 'socket_path_too_long' });
  t.throws(() => folderName(`/${'p'.repeat(80)}`, 'production', 103), { code: 'socket_path_too_long' });
  t.equal(folderName(`/${'p'.repeat(82)}`, 'production', 107), 'production');
  t.strictSame(await readdir(parent), []);
});

t.test('the longest name that fits', async (t) => {
  const parent = await parentFor(t);
  const room = maxSocketPath() - Buffer.byteLength(join(parent, 'x', 'server.sock')) + 1;
  const { folder } = await make(t, parent, 'x'.repeat(room), 'long');
  t.equal(Buffer.byteLength(folder.socketPath), maxSocketPath());
  t.equal(await answerAt(folder.socketPath), 'long');
  // The path is a link. Its owner can move the link, and the daemon then makes it again.
  await rename(folder.runtimeDir, join(parent, 'aside'));
  t.notOk(await folder.isOurs());
});
