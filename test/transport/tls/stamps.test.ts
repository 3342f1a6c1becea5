// Certificate files that change in ways that their times do not show, or show late.
import { linkSync, unlinkSync, watch, writeFileSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { asRead } from '../../../daemon/base/files/stamp.ts';
import { CaFiles } from '../../../daemon/transport/tls/certificates/ca-files.ts';
import { RootFolders } from '../../../daemon/transport/tls/certificates/root-folders.ts';
import { SystemRoots } from '../../../daemon/transport/tls/certificates/roots.ts';
import { waitFor } from '../../real/child.ts';
import { root } from './chains/further-cases.ts';

const [one, other] = [root(), root()];

async function fileFor(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => rm(folder, { recursive: true }));
  return join(folder, 'ca.pem');
}

t.test('a file that may change again without another stamp is read again', async (t) => {
  const path = await fileFor(t);
  const young = `5-${String(Math.floor(Date.now() / 1000))}000000000-9-1-2`;
  const stamp = (): Promise<string> => Promise.resolve(young);
  const [caFiles, roots] = [new CaFiles(4, stamp), new SystemRoots({ env: { SSL_CERT_FILE: path }, stamp })];
  for (const { pem, der } of [one, other]) {
    writeFileSync(path, pem);
    t.strictSame((await caFiles.current(path)).anchors[0]?.der, der);
    t.strictSame((await roots.current()).anchors[0]?.der, der);
  }
});

const skip = process.platform !== 'linux' && 'names are text there';
t.test('a file of a directory whose name is not UTF-8 counts, and a change of it', { skip }, async (t) => {
  const folder = dirname(await fileFor(t));
  const path = Buffer.concat([
    Buffer.from(join(folder, 'Tan')),
    Buffer.from([0xfa, 0x73, 0xed]),
    Buffer.from('.crt'),
  ]);
  const roots = new SystemRoots({ env: { SSL_CERT_DIR: folder } });
  for (const { pem, der } of [one, other]) {
    writeFileSync(path, pem);
    t.strictSame((await roots.current()).anchors[0]?.der, der);
  }
  unlinkSync(path);
  t.equal((await roots.current()).anchors.length, 0);
});

t.test('a file of a small directory that is written anew in place counts at once', async (t) => {
  const path = await fileFor(t);
  const roots = new SystemRoots({ env: { SSL_CERT_DIR: dirname(path) } });
  for (const { pem, der } of [one, other, one]) {
    writeFileSync(path, pem);
    t.strictSame((await roots.current()).anchors[0]?.der, der);
    // Until the stamp of the file is an old one: a young one is read again anyway.
    await sleep(100);
    await roots.current();
  }
});

t.test('a file of a large directory that is written anew in place counts at the next call', async (t) => {
  const file = await fileFor(t);
  const folder = dirname(file);
  for (let at = 0; at < 300; at += 1) writeFileSync(join(folder, `other-${String(at)}.pem`), '');
  const linked = await fileFor(t);
  await symlink(linked, join(folder, 'link.pem'));
  for (const path of [file, linked]) {
    for (const each of [file, linked]) writeFileSync(each, '');
    const roots = new SystemRoots({ env: { SSL_CERT_DIR: folder } });
    t.strictSame((await roots.current()).anchors, []);
    for (const { pem, der } of [one, other, one]) {
      // A second watch of the folder is told behind the one of the roots.
      const told = new Promise<void>((done) => {
        const watcher = watch(dirname(path), () => {
          watcher.close();
          done();
        });
      });
      writeFileSync(path, pem);
      await told;
      t.strictSame((await roots.current()).anchors[0]?.der, der, path);
    }
  }
});

/** A folder of many files. The kernel does not tell its watchers of what is written under `otherName`, which is a file of it, too. */
async function largeFolder(t: Test): Promise<{ folder: string; otherName: string }> {
  const file = await fileFor(t);
  const folder = dirname(file);
  for (let at = 0; at < 300; at += 1) writeFileSync(join(folder, `other-${String(at)}.pem`), '');
  writeFileSync(file, '');
  const otherName = await fileFor(t);
  linkSync(file, otherName);
  return { folder, otherName };
}

t.test('of watched folders the kernel tells: the files are looked at only once a minute', async (t) => {
  const { folder, otherName } = await largeFolder(t);
  await sleep(20);
  let now = 0;
  const found = await RootFolders.of([{ kind: 'directory', path: folder }], () => now);
  t.teardown(() => {
    found.close();
  });
  writeFileSync(otherName, one.pem);
  for (const at of [2000, 30_000, 59_000]) {
    now = at;
    for (let asked = 0; asked < 20; asked += 1) {
      t.equal(await found.hasChanged(), false);
      await sleep(5);
    }
  }
  now = 61_000;
  await waitFor('the look', () => found.hasChanged());
});

t.test('where a folder cannot be watched, the files are looked at again after a second', async (t) => {
  const { folder, otherName } = await largeFolder(t);
  await symlink(join(folder, 'gone', 'ca.pem'), join(folder, 'link.pem'));
  await sleep(20);
  let now = 0;
  const found = await RootFolders.of([{ kind: 'directory', path: folder }], () => now);
  t.teardown(() => {
    found.close();
  });
  writeFileSync(otherName, one.pem);
  now = 1001;
  await waitFor('the look', () => found.hasChanged());
});

t.test('times in whole seconds hold for two seconds', (t) => {
  const [now, earlier] = [1_700_000_001_500, 1_700_000_000_500];
  const stamp = (ms: number): string => `-5-${String(ms)}000000-9-1-2`;
  t.equal(asRead(stamp(now), now), `${stamp(now)}~`);
  t.equal(asRead(stamp(earlier), now), stamp(earlier));
  t.equal(asRead(stamp(1_700_000_000_000), now), `${stamp(1_700_000_000_000)}~`);
  t.equal(asRead(stamp(1_699_999_999_000), now), stamp(1_699_999_999_000));
  t.equal(asRead('missing', now), 'missing');
  t.end();
});

t.test(
  'a change without another stamp is seen after a reload, and the same content is no change',
  async (t) => {
    const path = await fileFor(t);
    const stamp = (): Promise<string> => Promise.resolve('always');
    writeFileSync(path, one.pem);
    const caFiles = new CaFiles(4, stamp);
    const roots = new SystemRoots({ env: { SSL_CERT_FILE: path }, stamp });
    const [file, found] = [await caFiles.current(path), await roots.current()];
    caFiles.renew();
    roots.renew();
    t.equal((await caFiles.current(path)).hash, file.hash);
    t.equal((await roots.current()).version, found.version);
    writeFileSync(path, other.pem);
    t.equal((await caFiles.current(path)).hash, file.hash, 'not seen');
    caFiles.renew();
    roots.renew();
    t.not((await caFiles.current(path)).hash, file.hash);
    t.not((await roots.current()).version, found.version);
  },
);
