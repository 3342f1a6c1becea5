// Tests that folders are made with their parents, and that a folder that cannot be made causes an error, not an endless wait.
import { chmod, mkdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { makeFolder, makeFolderSync } from '../../../daemon/base/files/make-folder.ts';

const WAYS = {
  makeFolder,
  makeFolderSync: async (path: string): Promise<void> => {
    makeFolderSync(path);
  },
};

for (const [name, make] of Object.entries(WAYS)) {
  t.test(`${name}: missing levels get mode 0700, existing ones are not changed`, async (t) => {
    const dir = t.testdir({});
    await chmod(dir, 0o755);
    await make(join(dir, 'a', 'b', 'c'));
    await make(join(dir, 'a', 'b', 'c'));
    for (const folder of ['a', 'a/b', 'a/b/c']) t.equal((await stat(join(dir, folder))).mode & 0o777, 0o700);
    t.equal((await stat(dir)).mode & 0o777, 0o755);
    await symlink(join(dir, 'a'), join(dir, 'link'));
    await make(join(dir, 'link'));
    await make(join(dir, 'link', 'd'));
    t.ok((await stat(join(dir, 'a', 'd'))).isDirectory());
    await make('.');
    await make('/');
  });

  t.test(`${name}: the system's error is thrown for a level that cannot be made`, async (t) => {
    const dir = t.testdir({ file: '' });
    await symlink(join(dir, 'nowhere'), join(dir, 'dangling'));
    const rows: [path: string, code: RegExp][] = [
      [join(dir, 'file'), /^EEXIST$/],
      [join(dir, 'file', 'x', 'y'), /^ENOTDIR$/],
      [join(dir, 'dangling'), /^EEXIST$/],
      [join(dir, 'dangling', 'x'), /^EEXIST$/],
      ['/dev/null/x', /^ENOTDIR$/],
      [join(dir, 'x'.repeat(300), 'y'), /^ENAMETOOLONG$/],
      [join(dir, 'x/'.repeat(3000)), /^ENAMETOOLONG$/],
    ];
    if (process.platform === 'linux')
      rows.push(['/proc/x/y', /^ENOENT$/], ['/sys/x/y', /^(EPERM|EROFS|EACCES|ENOENT)$/]);
    for (const [path, code] of rows) await t.rejects(make(path), { code }, path.slice(0, 80));
  });
}

t.test('concurrent calls can make the same folder', async (t) => {
  const path = join(t.testdir({}), 'a', 'b', 'c');
  await Promise.all(Array.from({ length: 20 }, () => makeFolder(path)));
  t.ok((await stat(path)).isDirectory());
  await mkdir(join(path, 'd'));
  await writeFile(join(path, 'd', 'f'), '');
});
