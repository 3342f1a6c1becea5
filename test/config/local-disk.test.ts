// Where a look may be made without a thread: on a disk of this machine, and nowhere that another machine or process answers for.
import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { findDisk, isOnLocalDisk } from '../../daemon/config/local-disk.ts';

const MEMORY = '/dev/shm';
const skip = !existsSync(MEMORY) || !existsSync('/proc/self') ? 'needs /dev/shm and /proc of Linux' : false;

t.test('local disks', { skip }, async (t) => {
  const folder = await mkdtemp(join(MEMORY, 'bmuxd-disk-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const link = join(folder, 'link');
  await symlink('/proc/self/status', link);
  const missing = join(folder, 'no', 'such', 'file');

  t.notOk(isOnLocalDisk(missing), 'nothing is taken for granted');
  await Promise.all([missing, link, '/proc/self/none'].map(findDisk));
  t.ok(isOnLocalDisk(missing), 'a file that is not there belongs to the folder that is');
  t.notOk(isOnLocalDisk(link), 'a link is what it leads to');
  t.notOk(isOnLocalDisk('/proc/self/none'), 'what is no disk');
});
