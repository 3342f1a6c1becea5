// Tests which paths another user can replace: owner, mode, symbolic links and parents.
import { chmod, lchown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pathProblem, sharedAbove } from '../../../daemon/base/files/path-problem.ts';
import { folderFor } from '../../config/files.ts';

const NOBODY = 65_534;
const ME = process.getuid?.() ?? 0;
const skip = ME !== 0 && 'only root can change the owner of a file';

/** Makes `{folder}/a/b/c.sock` and returns the folder. */
async function tree(t: Test): Promise<string> {
  const folder = await folderFor(t);
  await mkdir(join(folder, 'a', 'b'), { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'a', 'b', 'c.sock'), '');
  return folder;
}

t.test('a path of this user alone', async (t) => {
  const folder = await tree(t);
  t.equal(pathProblem(join(folder, 'a/b/c.sock'), ME), undefined);
  t.equal(pathProblem(`${folder}//a/./b/../b/c.sock`, ME), undefined);
  t.equal(pathProblem('/', ME), undefined);
  t.match(pathProblem('a/b', ME), { path: 'a/b', why: 'is not an absolute path' });
  t.throws(() => pathProblem(join(folder, 'a/none'), ME), { code: 'ENOENT' });
});

t.test('a folder that others can write', async (t) => {
  const folder = await tree(t);
  const path = join(folder, 'a/b/c.sock');
  for (const [mode, text] of [
    [0o777, '0777'],
    [0o720, '0720'],
    [0o702, '0702'],
  ] as const) {
    await chmod(join(folder, 'a'), mode);
    t.same(pathProblem(path, ME), {
      path: join(folder, 'a'),
      why: `can be changed by others (mode ${text})`,
    });
  }
  await chmod(join(folder, 'a'), 0o775);
  t.equal(pathProblem(path, ME, process.getegid?.()), undefined, "the user's own group may change it");
  t.match(pathProblem(path, ME, 4711), { why: /0775/ }, 'no other group may');
  await chmod(join(folder, 'a'), 0o1777);
  t.equal(pathProblem(path, ME), undefined, 'the sticky bit keeps what belongs to this user');
});

t.test('what belongs to another user', { skip }, async (t) => {
  const folder = await tree(t);
  const path = join(folder, 'a/b/c.sock');
  const why = 'belongs to user 65534, not to you (0)';
  for (const part of ['a', 'a/b', 'a/b/c.sock']) {
    await lchown(join(folder, part), NOBODY, NOBODY);
    t.same(pathProblem(path, ME), { path: join(folder, part), why }, part);
    await lchown(join(folder, part), 0, 0);
  }
  await lchown(join(folder, 'a/b'), NOBODY, NOBODY);
  t.equal(pathProblem(join(folder, 'a/b'), NOBODY), undefined, 'the folders of root are accepted');
});

t.test('symbolic links', { skip }, async (t) => {
  const folder = await tree(t);
  const link = (to: string, name: string): Promise<void> => symlink(to, join(folder, name));
  await link('a/b', 'relative');
  await link(join(folder, 'a'), 'absolute');
  await link('loop', 'loop');
  t.equal(pathProblem(join(folder, 'relative/c.sock'), ME), undefined);
  t.equal(pathProblem(join(folder, 'absolute/b/c.sock'), ME), undefined);
  t.match(pathProblem(join(folder, 'loop/c.sock'), ME), { path: join(folder, 'loop') });
  await chmod(join(folder, 'a'), 0o777);
  t.match(
    pathProblem(join(folder, 'relative/c.sock'), ME),
    { path: join(folder, 'a') },
    'what it leads through',
  );
  await chmod(join(folder, 'a'), 0o700);
  await chmod(folder, 0o1777);
  await lchown(join(folder, 'absolute'), NOBODY, NOBODY);
  t.match(pathProblem(join(folder, 'absolute/b/c.sock'), ME), {
    path: join(folder, 'absolute'),
    why: 'belongs to user 65534, not to you (0)',
  });
});

t.test('a folder above in which others can make files', async (t) => {
  const folder = await tree(t);
  await chmod(folder, 0o1777);
  t.equal(sharedAbove(join(folder, 'a/b')), folder);
  t.equal(sharedAbove('/usr'), undefined);
});
