// Tests looks at folders: after a change, in a folder that was made again, and without any event.
import { mkdirSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SYSTEM_CLOCK, type Clock } from '../../../daemon/base/async/clock.ts';
import { FolderLooks } from '../../../daemon/base/files/folder-looks.ts';
import { FakeClock } from '../async/fake-clock.ts';
import { waitFor } from '../../real/child.ts';

t.test('a change is followed by a look, also in a folder that was made again', async (t) => {
  const parent = await mkdtemp(join(tmpdir(), 'bmuxd-fl-'));
  t.teardown(() => rm(parent, { recursive: true }));
  const folder = join(parent, 'd');
  await mkdir(folder);
  let count = 0;
  // The looks that need no event never come by this clock.
  const clock: Clock = {
    ...SYSTEM_CLOCK,
    now: () => SYSTEM_CLOCK.now(),
    every: (ms, run) => (ms > 500 ? () => undefined : SYSTEM_CLOCK.every(ms, run)),
    after: (ms, run) => SYSTEM_CLOCK.after(ms, run),
  };
  const looks = new FolderLooks({ folders: () => [folder], look: () => (count += 1), clock });
  t.teardown(() => {
    looks.close();
  });
  const looked = async (change: () => Promise<unknown>): Promise<void> => {
    const before = count;
    await change();
    await waitFor('a look', () => count > before);
  };
  await looked(() => writeFile(join(folder, 'a'), ''));
  await looked(() => rm(join(folder, 'a')));
  await looked(() => rm(folder, { recursive: true }));
  await looked(() => mkdir(folder));
  await looked(() => writeFile(join(folder, 'b'), ''));
  // A file system may give the new folder the inode of the removed one.
  await looked(() => {
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    return Promise.resolve();
  });
  await looked(() => writeFile(join(folder, 'b'), ''));
  looks.close();
  const before = count;
  await rm(join(folder, 'b'));
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(count, before, 'none after the end');
});

t.test('without events a look comes every 8 s, and twice a second while a folder is not there', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-fl-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  let count = 0;
  let folders = [folder];
  const clock = new FakeClock();
  const looks = new FolderLooks({ folders: () => folders, look: () => (count += 1), clock });
  await clock.advance(7900);
  t.equal(count, 0);
  await clock.advance(8100);
  t.equal(count, 2);
  folders = [folder, join(folder, 'missing')];
  await clock.advance(8000);
  t.equal(count, 3);
  await clock.advance(2000);
  t.equal(count, 7);
  looks.close();
  await clock.advance(10_000);
  t.equal(count, 7);
  t.equal(clock.waiting, 0);
});
