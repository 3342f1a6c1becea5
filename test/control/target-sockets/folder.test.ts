// Tests target sockets in the file system: folders and links, how they are swapped, and what may be removed.
import { once } from 'node:events';
import { renameSync, unlinkSync } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readlink,
  stat,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { errnoOf } from '../../../daemon/base/failure.ts';
import {
  clearFolders,
  removeFolders,
  makeTargetSocketFolder,
  sweepFolders,
  type TargetSocketFolder,
} from '../../../daemon/control/target-sockets/folder.ts';
import { answerAt, make, named, parentFor } from './folders.ts';

/** The user `nobody`, used where the tests run as root. */
const NOBODY = 65534;

/** Makes folders or links look a minute old. */
async function age(...paths: string[]): Promise<void> {
  const then = new Date(Date.now() - 60_000);
  for (const path of paths) await utimes(path, then, then);
}

t.test('a target socket is a link to a folder in which nothing can be changed', async (t) => {
  const parent = await parentFor(t);
  const { folder } = await make(t, join(parent, 'targets'), 'prod', 'one');
  const { runtimeDir, socketPath } = folder;
  t.equal(runtimeDir, join(parent, 'targets', 'prod'));
  t.equal(socketPath, join(runtimeDir, 'server.sock'));
  t.ok((await lstat(runtimeDir)).isSymbolicLink());
  t.equal((await stat(runtimeDir)).mode & 0o777, 0o500);
  t.equal((await stat(join(parent, 'targets'))).mode & 0o777, 0o700);
  t.equal(await answerAt(socketPath), 'one');
  t.ok(await folder.isOurs());
  await folder.remove();
  await folder.remove();
  t.strictSame(await readdir(join(parent, 'targets')), ['prod']);
  t.notOk(await folder.isOurs());
  // A bmux whose shell still has the path makes that folder and its parents. This must fail.
  await t.rejects(mkdir(runtimeDir, { recursive: true }), { code: 'ENOENT' });
  await t.rejects(mkdir(runtimeDir), { code: 'EEXIST' });
});

t.test('only root can bind or unlink in the folder', async (t) => {
  const parent = await parentFor(t);
  const { folder } = await make(t, parent, 'prod', 'one');
  // The mode does not stop root. Then another user tries, who is made the owner of the folders.
  const asRoot = process.getuid?.() === 0;
  if (asRoot) for (const path of [parent, await target(folder)]) await chown(path, NOBODY, NOBODY);
  const code = (work: () => void): string => {
    try {
      work();
      return 'done';
    } catch (error) {
      return errnoOf(error) ?? 'no errno';
    }
  };
  const server = named(t, 'other');
  const bound = new Promise((resolve) => {
    server.on('error', (error) => resolve(errnoOf(error))).on('listening', () => resolve('done'));
  });
  if (asRoot) process.seteuid?.(NOBODY);
  try {
    t.equal(
      code(() => unlinkSync(folder.socketPath)),
      'EACCES',
    );
    t.equal(
      code(() => renameSync(folder.socketPath, join(parent, 'away'))),
      'EACCES',
    );
    server.listen(join(folder.runtimeDir, 'other.sock'));
  } finally {
    if (asRoot) process.seteuid?.(0);
  }
  t.equal(await bound, 'EACCES');
  t.ok(await folder.isOurs());
});

async function target(folder: TargetSocketFolder): Promise<string> {
  return join(folder.runtimeDir, '..', await readlink(folder.runtimeDir));
}

t.test('a foreign socket at the path is noticed, and a new folder takes the path back', async (t) => {
  const parent = await parentFor(t);
  const { folder } = await make(t, parent, 'prod', 'ours');
  const inside = await target(folder);
  await chmod(inside, 0o700);
  await unlink(join(inside, 'server.sock'));
  t.notOk(await folder.isOurs(), 'the socket is removed');
  const foreign = named(t, 'foreign').listen(join(inside, 'server.sock'));
  await once(foreign, 'listening');
  t.notOk(await folder.isOurs(), 'another socket is at its path');
  const fresh = await make(t, parent, 'prod', 'fresh');
  t.equal(await answerAt(folder.socketPath), 'fresh');
  await folder.remove();
  t.ok(await fresh.folder.isOurs());

  // The link is replaced with a folder, as a bmux server would make it.
  await unlink(folder.runtimeDir);
  await mkdir(folder.runtimeDir);
  await writeFile(join(folder.runtimeDir, 'server-meta.json'), '{}');
  t.notOk(await fresh.folder.isOurs(), 'a folder instead of the link');
  const last = await make(t, parent, 'prod', 'last');
  t.equal(await answerAt(folder.socketPath), 'last');
  t.ok(await last.folder.isOurs());
});

t.test('the folder of a foreign server is moved away from the path and kept', async (t) => {
  const parent = await parentFor(t);
  const { folder } = await make(t, parent, 'prod', 'ours');
  const inside = await target(folder);
  await chmod(inside, 0o700);
  await unlink(join(inside, 'server.sock'));
  const swapped = named(t, 'swapped in').listen(join(inside, 'server.sock'));
  await once(swapped, 'listening');
  const fresh = await make(t, parent, 'prod', 'fresh');
  t.equal(fresh.folder.setAside, undefined);
  const kept = (await folder.remove()) ?? '';
  t.equal(await answerAt(join(kept, 'server.sock')), 'swapped in');
  t.equal(await answerAt(folder.socketPath), 'fresh');

  await unlink(folder.runtimeDir);
  await mkdir(folder.runtimeDir);
  const started = named(t, 'started there').listen(folder.socketPath);
  await once(started, 'listening');
  const last = await make(t, parent, 'prod', 'last');
  t.equal(await answerAt(join(last.folder.setAside ?? '', 'server.sock')), 'started there');
  t.equal(await answerAt(folder.socketPath), 'last');

  await last.folder.remove();
  await fresh.folder.remove();
  await clearFolders(parent);
  t.equal(
    await answerAt(join(kept, 'server.sock')),
    'swapped in',
    'the foreign server is still there when the daemon stops',
  );
  t.equal(await answerAt(folder.socketPath), 'ENOENT');
  swapped.close();
  await once(swapped, 'close');
  await clearFolders(parent);
  t.equal(
    (await readdir(parent)).filter((name) => name.startsWith('.')).length,
    1,
    'the folder is removed when the foreign server has ended',
  );
});

t.test('at most 256 links without a folder are kept', async (t) => {
  const parent = await parentFor(t);
  for (let index = 0; index < 300; index += 1)
    await symlink(`.d${String(100_000 + index)}`, join(parent, `target${String(index)}`));
  await symlink('.d123456', join(parent, '.l123456'));
  await sweepFolders(parent, 0);
  t.equal((await readdir(parent)).length, 256);
  await removeFolders(parent);
  await t.rejects(lstat(parent), { code: 'ENOENT' });
  await mkdir(parent);
});

t.test(
  'of two target sockets at a path the newer is in force, and removing the older does not affect it',
  async (t) => {
    const parent = await parentFor(t);
    const older = await make(t, parent, 'prod', 'older');
    const newer = await make(t, parent, 'prod', 'newer');
    t.equal(await answerAt(newer.folder.socketPath), 'newer');
    t.equal(await answerAt(join(await target(newer.folder), 'server.sock')), 'newer');
    t.notOk(await older.folder.isOurs());
    older.server.close();
    await once(older.server, 'close');
    t.equal(await answerAt(newer.folder.socketPath), 'newer', 'after the close of the older server');
    await older.folder.remove();
    t.equal(await answerAt(newer.folder.socketPath), 'newer', 'after the removal of the older folder');
    t.equal((await readdir(parent)).length, 2);
  },
);

t.test('closing a server does not remove a foreign socket at its path', async (t) => {
  const parent = await parentFor(t);
  const { server, folder } = await make(t, parent, 'prod', 'ours');
  const inside = await target(folder);
  await chmod(inside, 0o700);
  await unlink(join(inside, 'server.sock'));
  const foreign = named(t, 'foreign').listen(join(inside, 'server.sock'));
  await once(foreign, 'listening');
  server.close();
  await once(server, 'close');
  t.equal(await answerAt(folder.socketPath), 'foreign');
});

t.test('no client is refused while the folder is swapped', async (t) => {
  const parent = await parentFor(t);
  const first = await make(t, parent, 'prod', 'server 0');
  const made = [first];
  const said = new Map<string, number>();
  let connecting = true;
  const swapping = (async () => {
    for (let turn = 1; connecting && turn < 20; turn += 1) {
      made.push(await make(t, parent, 'prod', `server ${String(turn)}`));
      // The old server is closed only at the end of the test, because a close would cut the connections that the kernel has queued for it.
      await made[turn - 1]?.folder.remove();
    }
  })();
  for (let turn = 0; turn < 50; turn += 1) {
    const answers = await Promise.all(Array.from({ length: 30 }, () => answerAt(first.folder.socketPath)));
    for (const answer of answers) said.set(answer, (said.get(answer) ?? 0) + 1);
  }
  connecting = false;
  await swapping;
  const refused = [...said].filter(([answer]) => !answer.startsWith('server '));
  t.strictSame(refused, []);
  t.ok(said.size > 2, `${String(said.size)} servers answered`);
});

t.test('a target socket that cannot be made leaves no files', async (t) => {
  const parent = await parentFor(t);
  await writeFile(join(parent, 'file'), '');
  await t.rejects(makeTargetSocketFolder(join(parent, 'file'), 'prod', named(t, 'none')));
  const busy = named(t, 'busy').listen(join(parent, 'busy'));
  await once(busy, 'listening');
  await t.rejects(makeTargetSocketFolder(join(parent, 'targets'), 'prod', busy));
  t.strictSame(await readdir(join(parent, 'targets')), []);
});

t.test('a sweep removes old folders without a listener, and nothing else', async (t) => {
  const parent = await parentFor(t);
  const live = await make(t, parent, 'live', 'live');
  const old = await make(t, parent, 'swapped', 'old');
  const oldFolder = await target(old.folder);
  const now = await make(t, parent, 'swapped', 'now');
  const gone = await make(t, parent, 'gone', 'gone');
  gone.server.close();
  await once(gone.server, 'close');
  const young = await make(t, parent, 'young', 'young');
  young.server.close();
  await once(young.server, 'close');
  await mkdir(join(parent, '.n012345'));
  await mkdir(join(parent, 'somebody'));
  await writeFile(join(parent, '.d543210'), '');
  await symlink('/nonexistent', join(parent, 'foreign link'));
  const goneFolder = await target(gone.folder);
  await age(join(parent, '.n012345'), join(parent, 'somebody'), join(parent, '.d543210'));
  await age(oldFolder, goneFolder, await target(live.folder), await target(now.folder));
  const kept = (await readdir(parent)).filter((name) => name !== '.n012345');
  await sweepFolders(parent);
  const links = async () => (await readdir(parent)).sort();
  t.strictSame(await links(), kept.filter((name) => join(parent, name) !== goneFolder).sort());
  t.ok(await stat(young.folder.runtimeDir));
  await sweepFolders(parent, 0);
  for (const { folder } of [gone, young]) {
    t.ok((await lstat(folder.runtimeDir)).isSymbolicLink());
    await t.rejects(stat(folder.runtimeDir), { code: 'ENOENT' });
  }
  t.ok((await links()).includes('somebody'));
  t.ok((await links()).includes('foreign link'));
  t.equal(await answerAt(live.folder.socketPath), 'live');
  t.equal(await answerAt(now.folder.socketPath), 'now');
  t.equal(await answerAt(join(oldFolder, 'server.sock')), 'old', 'a swapped folder with a listener is kept');
  await sweepFolders(join(parent, 'nothing'));
});

t.test('an old folder with a listener is not swept', async (t) => {
  const parent = await parentFor(t);
  const { folder } = await make(t, parent, 'live', 'live');
  await sweepFolders(parent, 0);
  t.equal(await answerAt(folder.socketPath), 'live');
  t.ok(await folder.isOurs());
});
