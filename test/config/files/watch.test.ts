// The file watch reports every kind of change, and leaves nothing running after close().
import { writeFileSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SYSTEM_CLOCK } from '../../../daemon/base/async/clock.ts';
import { SteadyFiles } from '../../../daemon/config/files/steady-files.ts';
import { watchFiles } from '../../../daemon/config/files/watch.ts';
import { waitFor } from '../../real/index.ts';
import { folderFor, put } from '../files.ts';

const through = () => new SteadyFiles(SYSTEM_CLOCK);

/** A change that was noticed within this time, ms, was reported by an event. */
const EVENT_MS = 600;

/** Watches a file, and measures how long each change took to be noticed. */
function watching(t: Test, files: () => readonly string[]) {
  let changes = 0;
  const watch = watchFiles({
    files,
    through: through(),
    onChange: () => (changes += 1),
    log: (message) => t.comment(message),
  });
  t.teardown(() => watch.close());
  const noticed = async (what: string, change: () => Promise<unknown>): Promise<number> => {
    const before = changes;
    const start = performance.now();
    await change();
    await waitFor(`the change: ${what}`, () => changes > before);
    const took = performance.now() - start;
    t.comment(`${what}: ${took.toFixed(0)} ms`);
    return took;
  };
  return { watch, noticed, changes: () => changes };
}

/** The fastest of at most ten changes, stopping at the first fast one. The check every second restarts with each change and is never that fast. */
async function fastest(change: (n: number) => Promise<number>): Promise<number> {
  let best = Infinity;
  for (let n = 0; n < 10 && best >= EVENT_MS; n += 1) best = Math.min(best, await change(n));
  return best;
}

/** How many folders and files this process has events of. */
async function watched(): Promise<number> {
  const all = await readdir('/proc/self/fdinfo');
  const texts = all.map((fd) => readFile(`/proc/self/fdinfo/${fd}`, 'utf8').catch(() => ''));
  return (await Promise.all(texts)).join('').split('inotify wd:').length - 1;
}

const noEvents = process.platform === 'linux' ? false : 'only Linux tells what is watched';

t.test(
  'a folder that all users share is not watched for what is not in it',
  { skip: noEvents },
  async (t) => {
    const folder = await folderFor(t);
    const own = join(folder, 'own');
    const shared = join(folder, 'shared');
    await mkdir(own);
    await mkdir(shared);
    await chmod(shared, 0o1777);
    const before = await watched();
    const { noticed, watch } = watching(t, () => [join(shared, 'bmux/x.toml')]);
    const { watch: other } = watching(t, () => [join(own, 'bmux/x.toml')]);
    await waitFor('the watch of the other folder', async () => (await watched()) > before);
    await other.close();
    await waitFor('no watch', async () => (await watched()) === before);
    await noticed('a file in a folder that was not there', () => put(join(shared, 'bmux/x.toml'), '1'));
    await waitFor('the watch of its folder', async () => (await watched()) > before);
    await watch.close();
  },
);

t.test('files', async (t) => {
  const folder = await folderFor(t);
  const file = join(folder, 'c/bmux.toml');
  await put(file, '1');
  const { noticed } = watching(t, () => [file, join(folder, 'not/here/x.toml')]);
  await noticed('written', () => put(file, '22'));
  const renamed = await fastest((n) =>
    noticed('renamed over', async () => {
      await put(`${file}~`, '3'.repeat(3 + n));
      await rename(`${file}~`, file);
    }),
  );
  await noticed('removed', () => unlink(file));
  await noticed('written again', () => put(file, '1'));
  await noticed('a file in folders that were not there', () => put(join(folder, 'not/here/x.toml'), '1'));
  t.ok(renamed < EVENT_MS, `a rename noticed in ${Math.round(renamed)} ms`);
});

t.test('folders', async (t) => {
  const folder = await folderFor(t);
  const config = join(folder, 'c');
  const file = join(config, 'bmux.toml');
  await put(file, '1');
  const { noticed } = watching(t, () => [file]);
  for (const round of ['one', 'two']) {
    await noticed(`folder removed, ${round}`, () => rm(config, { recursive: true }));
    await noticed(`made again, ${round}`, () => put(file, round));
    await noticed(`written in it, ${round}`, () => put(file, '1'));
    const written = await fastest((n) =>
      noticed(`written again, ${round}`, () => put(file, '2'.repeat(2 + n))),
    );
    t.ok(written < EVENT_MS, 'events come from the folder that is there now');
  }
  await put(join(folder, 'a/bmux.toml'), 'aa');
  await put(join(folder, 'b/bmux.toml'), 'bbb');
  await noticed('folder replaced by a symlink', async () => {
    await rm(config, { recursive: true });
    await symlink('a', config);
  });
  await noticed('symlink swapped', async () => {
    await symlink('b', `${config}~`);
    await rename(`${config}~`, config);
  });
  await noticed('written behind the symlink', () => put(join(folder, 'b/bmux.toml'), 'bbbb'));
});

t.test('refresh', async (t) => {
  const folder = await folderFor(t);
  const [one, two] = [join(folder, 'one'), join(folder, 'two')];
  let files = [one];
  const { watch, noticed, changes } = watching(t, () => files);
  await noticed('one', () => put(one, '1'));
  files = [two];
  watch.refresh();
  await put(one, '22');
  await noticed('two', () => put(two, '1'));
  t.equal(changes(), 2, 'a file that is no longer named is of no interest');
});

t.test('a file that is added while the files are compared keeps its mark', async (t) => {
  const folder = await folderFor(t);
  for (let n = 0; n < 20; n += 1) {
    const [one, two] = [join(folder, `one-${String(n)}`), join(folder, `two-${String(n)}`)];
    let files = [one];
    const { watch, noticed } = watching(t, () => files);
    // A comparison is under way: it began with the watch.
    files = [one, two];
    watch.refresh();
    writeFileSync(two, '2');
    await noticed('the added file', () => Promise.resolve());
    await watch.close();
  }
});

t.test('changes while it starts are not missed', async (t) => {
  const folder = await folderFor(t);
  for (let i = 0; i < 10; i += 1) {
    const file = join(folder, String(i));
    const { noticed, watch } = watching(t, () => [file]);
    writeFileSync(file, '1');
    await noticed('at once', () => Promise.resolve());
    await watch.close();
  }
});

t.test('close() leaves nothing', async (t) => {
  const folder = await folderFor(t);
  const handles = () =>
    process.getActiveResourcesInfo().filter((kind) => /FSEvent|StatWatcher|FSReq|Timeout/u.test(kind));
  await waitFor(
    'earlier tests to be gone',
    () => !handles().some((kind) => /FSEvent|StatWatcher/u.test(kind)),
  );
  const file = join(folder, 'c/x');
  await mkdir(join(folder, 'c'));
  let changes = 0;
  const watch = watchFiles({
    files: () => [file, join(folder, 'y')],
    through: through(),
    onChange: () => (changes += 1),
  });
  await put(file, '1');
  await waitFor('the change', () => changes > 0);
  await Promise.all([watch.close(), watch.close()]);
  await waitFor(
    'all handles to be closed',
    () => !handles().some((kind) => /FSEvent|StatWatcher|FSReq/u.test(kind)),
  );
  const last = changes;
  await put(file, '22');
  watch.refresh();
  await watch.close();
  t.equal(changes, last);
  const early = watchFiles({ files: () => [file], through: through(), onChange: () => (changes += 1) });
  await early.close();
  await waitFor(
    'one closed before it was ready',
    () => !handles().some((kind) => /FSEvent|StatWatcher|FSReq/u.test(kind)),
  );
});
