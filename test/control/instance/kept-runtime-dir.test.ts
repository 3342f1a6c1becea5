// Tests who says whether the runtime dir is there: it is made again where that is possible, and each change is told once.
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { bmuxdPaths } from '../../../daemon/base/paths.ts';
import { KeptRuntimeDir } from '../../../daemon/control/instance/kept-runtime-dir.ts';
import { makeRuntimeDir } from '../../../daemon/control/instance/runtime-dir.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

const mount = (...args: string[]): void => {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
};
const skip =
  spawnSync('unshare', ['-m', 'mount', '--bind', '/tmp', '/tmp']).status === 0
    ? false
    : 'nothing can be mounted here';

interface Rig {
  readonly dir: string;
  readonly clock: FakeClock;
  readonly kept: KeptRuntimeDir;
  readonly lines: string[];
}

async function rig(t: Test): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'kept-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const paths = bmuxdPaths({ HOME: folder, BMUXD_RUNTIME_DIR: join(folder, 'd') });
  await makeRuntimeDir(paths);
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(line) });
  const clock = new FakeClock();
  return { dir: paths.dir, clock, kept: new KeptRuntimeDir({ paths, clock, log }), lines };
}

t.test('a removed folder is made again, which one line says', async (t) => {
  const { dir, clock, kept, lines } = await rig(t);
  t.equal(await kept.check(), true);
  t.equal(kept.lossLevel, 'warn');
  t.same(lines, []);
  await rm(dir, { recursive: true });
  t.equal(kept.isAway, true);
  t.equal(await kept.check(), true);
  t.equal(kept.isAway, false);
  t.equal((await stat(join(dir, 'engines'))).mode & 0o777, 0o700);
  t.match(lines, [/made again/]);
  t.equal(kept.lossLevel, 'debug', 'the sockets that were in it are no news');
  await clock.advance(5000);
  t.equal(kept.lossLevel, 'warn');
  await rm(join(dir, 'engines'), { recursive: true });
  t.equal(await kept.check(), true, 'a cleaner may remove only a part');
});

t.test('one that cannot be made is a problem until it can', async (t) => {
  const { dir, kept, lines } = await rig(t);
  await rm(dir, { recursive: true });
  await writeFile(dir, '');
  for (let look = 0; look < 5; look += 1) t.equal(await kept.check(), false);
  t.equal(kept.isAway, true);
  t.match(kept.problem?.data, { code: 'runtime_dir_gone', detail: /is not a folder/, remedy: /\w/ });
  t.equal(lines.length, 1, 'told once');
  await rm(dir);
  t.equal(await kept.check(), true);
  t.equal(kept.problem, undefined);
  t.match(lines, [/the runtime dir is gone/, /the runtime dir is back/]);
});

t.test('one that takes no files is a problem, and is not used, until it does again', { skip }, async (t) => {
  const { dir, kept, lines } = await rig(t);
  mount('--bind', dir, dir);
  t.teardown(() => spawnSync('umount', [dir]));
  mount('-o', 'remount,bind,ro', dir);
  for (let look = 0; look < 5; look += 1) t.equal(await kept.check(), false);
  t.equal(kept.isAway, true);
  t.match(kept.problem?.data, { code: 'runtime_dir_unwritable', detail: /EROFS/, remedy: /writable/ });
  t.equal(lines.length, 1, 'told once');
  mount('-o', 'remount,bind,rw', dir);
  t.equal(await kept.check(), true);
  t.equal(kept.problem, undefined);
  t.equal(kept.isAway, false);
  t.match(lines, [/takes no files/, /the runtime dir is back/]);
});
