// Tests that programs use the code that V8 has compiled of them before, and no code that is not whole.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD } from '../daemon/bmuxd.ts';
import { run } from '../real/index.ts';

const COMMANDS = [
  ['shell-init', 'bash'],
  ['completion', 'bash'],
] as const;

t.test('compiled code', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'bmuxd-code-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  const folder = join(home, 'state', 'bmuxd', 'code');
  const env = { HOME: home, XDG_STATE_HOME: join(home, 'state'), XDG_RUNTIME_DIR: home };
  /** What the commands print. */
  const printed = async (
    more: Readonly<Record<string, string>> = {},
    flags: readonly string[] = [],
  ): Promise<readonly string[]> => {
    const texts = [];
    for (const command of COMMANDS) {
      const ran = await run(process.execPath, [...flags, BMUXD, ...command], { ...env, ...more });
      t.same([ran.status, ran.stderr], [0, ''], command.join(' '));
      texts.push(ran.stdout);
    }
    return texts;
  };
  /** The files by name: what replaces a file has another inode. */
  const files = async (): Promise<Readonly<Record<string, bigint>>> => {
    const names = await readdir(folder);
    const found = names.map(
      async (name) => [name, (await stat(join(folder, name), { bigint: true })).ino] as const,
    );
    return Object.fromEntries(await Promise.all(found));
  };

  const plain = await printed();
  t.same(await readdir(home), [], 'without a daemon, a command leaves nothing behind');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  t.same(await printed({ NODE_DISABLE_COMPILE_CACHE: '1' }), plain);
  t.same(await files(), {}, 'a user can turn it off');
  await chmod(folder, 0o755);
  await printed();
  t.same(await files(), {}, 'no code is left where others can look');
  await chmod(folder, 0o700);

  await printed();
  const first = await files();
  t.match(Object.keys(first), [/^bmuxd-all-bmuxd-.*\.bin$/, /^bmuxd-quick-bmuxd-.*\.bin$/]);
  t.same(await printed(), plain);
  t.same(await files(), first, 'code that is used is not written again');
  t.same(await printed({}, ['--max-semi-space-size=2']), plain);
  const both = await files();
  t.equal(Object.keys(both).length, 4, 'V8 needs other code with other flags');
  await printed();
  await printed({}, ['--max-semi-space-size=2']);
  t.same(await files(), both, 'which does not replace the first');

  for (const name of Object.keys(first)) {
    const bytes = await readFile(join(folder, name));
    bytes[bytes.length >> 2] = (bytes[bytes.length >> 2] ?? 0) ^ 1;
    await writeFile(join(folder, name), bytes);
  }
  t.same(await printed(), plain, 'code in which a byte has changed is not run');
  t.same(await printed(), plain);
  const second = await files();
  for (const [name, inode] of Object.entries(first)) t.not(second[name], inode, `${name} is written again`);
});
