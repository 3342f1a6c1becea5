// The files of a config are read once for all callers whose environments lead to the same files.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SYSTEM_CLOCK } from '../../../daemon/base/async/clock.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { bmuxPaths } from '../../../daemon/base/paths.ts';
import { ConfigFiles } from '../../../daemon/config/bmux/config-files.ts';
import { SteadyFiles } from '../../../daemon/config/files/steady-files.ts';
import { folderFor, put } from '../files.ts';

async function rig(t: Test) {
  const folder = await folderFor(t);
  const steady = new SteadyFiles(SYSTEM_CLOCK);
  t.teardown(() => {
    steady.close();
  });
  const files = new ConfigFiles(steady);
  const ask = (more: Readonly<Record<string, string>>) => {
    const env = { HOME: folder, BMUX_CONFIG_DIR: join(folder, 'c'), ...more };
    return files.current({ env, paths: bmuxPaths(env, 'linux', folder), cwd: folder });
  };
  return { folder, ask };
}

t.test('callers whose other variables differ get the same reading', async (t) => {
  const { folder, ask } = await rig(t);
  const file = join(folder, 'c/bmux.toml');
  await put(file, 'a = 1');
  // Time for the file to keep its mark: one that has just been changed is read again.
  await sleep(100);
  const first = await ask({ HOST: 'a' });
  t.equal(await ask({ HOST: 'b' }), first);
  await put(file, 'a = 22');
  await sleep(100);
  const [one, two, three] = await Promise.all([ask({ HOST: 'a' }), ask({ HOST: 'b' }), ask({ HOST: 'c' })]);
  t.not(one, first, 'the change is read');
  t.equal(two, one);
  t.equal(three, one);
});

t.test('a variable that decides which files these are makes a reading of its own', async (t) => {
  const { folder, ask } = await rig(t);
  const root = join(folder, '.config/bmux');
  await put(join(root, 'slots.toml'), 'extend = ["${HOST}.toml"]\n[slots.dev]\nbinary = "b"\n');
  await put(join(root, 'b.toml'), '[slots.dev]\nbinary = "of b"\n');
  const binary = async (HOST: string) => (await ask({ HOST, BMUX_SLOT_NAME: 'dev' })).slot?.slot?.binary;
  for (const time of ['first', 'again']) {
    t.equal(await binary('a'), 'b', time);
    t.equal(await binary('b'), 'of b', time);
  }
  // More callers than readings are kept.
  const hosts = Array.from({ length: 30 }, (_, n) => `h${String(n)}`);
  for (const host of hosts) await put(join(root, `${host}.toml`), `[slots.dev]\nbinary = "${host}"\n`);
  t.strictSame(await Promise.all(hosts.map(binary)), hosts);
  await put(join(root, 'h3.toml'), '[slots.dev]\nbinary = "changed"\n');
  t.equal(await binary('h3'), 'changed');
});
