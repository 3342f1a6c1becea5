// Which paths may be checked without a thread: those on a local disk, and none that another machine or process serves.
import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { isOnLocalDisk } from '../../../daemon/base/files/local-disk.ts';

const MEMORY = '/dev/shm';
const skip = !existsSync(MEMORY) || !existsSync('/proc/self') ? 'needs /dev/shm and /proc of Linux' : false;

t.test('local disks', { skip }, async (t) => {
  const folder = await mkdtemp(join(MEMORY, 'bmuxd-disk-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const link = join(folder, 'link');
  await symlink('/proc/self/status', link);
  const dangling = join(folder, 'dangling');
  await symlink('/proc/self/none', dangling);
  const detour = join(folder, 'detour');
  await symlink(folder, detour);
  const missing = join(folder, 'no', 'such', 'file');
  const others = [link, dangling, join(detour, 'file'), '/proc/self/none'];

  t.ok(isOnLocalDisk(missing), 'a file that is not there belongs to the folder that is');
  for (const other of others) t.notOk(isOnLocalDisk(other), other);
  await rm(link);
  t.notOk(isOnLocalDisk(link), 'no is an answer too: it is not asked again at each look');
  t.notOk(isOnLocalDisk('relative'), 'a path without a root');
});
