// Tests what a daemon says about the package on the disk when that is replaced or removed while it runs.
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { InstalledPackage } from '../../../daemon/control/installed-package.ts';

t.test('an upgrade, a broken file and a removed package', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'bmuxd-package-'));
  t.teardown(() => rm(root, { recursive: true }));
  const path = join(root, 'package.json');
  const write = (text: string): Promise<void> => writeFile(path, text);
  let restarts = 0;
  const installed = new InstalledPackage({
    root,
    running: '0.1.0',
    restart: () => (restarts += 1),
    log: { warn: () => undefined },
  });
  await write('{"version":"0.1.0"}');
  t.equal(installed.problem, undefined);
  await write('{"version":"0.2.0-next"}');
  const { data } = installed.problem ?? {};
  t.match(data, {
    code: 'restart_due',
    detail: 'bmuxd 0.2.0-next is installed, and 0.1.0 runs',
    remedy: 'Run `bmuxd restart` to use 0.2.0-next; live streams go on.',
  });
  t.equal(restarts, 0, 'the engine that runs goes on');
  t.equal(installed.refusal()?.code, 'restart_due');
  t.equal(installed.refusal()?.code, 'restart_due');
  t.equal(restarts, 1, 'an engine is needed');
  await write('{"vers');
  t.equal(installed.problem, undefined, 'it is being written');
  t.match(installed.refusal(), { code: 'package_away' }, 'no engine is started meanwhile');
  await rm(path);
  t.match(installed.problem, { code: 'package_away' });
  await write('{"version":"0.1.0"}');
  t.equal(installed.problem, undefined, 'it is there again');
  t.equal(installed.refusal(), undefined);
});

t.test('nothing is started from programs that are being written', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'bmuxd-package-'));
  t.teardown(() => rm(root, { recursive: true }));
  const programs = join(root, 'dist/daemon/bin');
  await mkdir(programs, { recursive: true });
  const program = join(programs, 'engine.cjs');
  let restarts = 0;
  let now = Date.now();
  const { refusal } = new InstalledPackage({
    root,
    running: '0.1.0',
    restart: () => (restarts += 1),
    log: { warn: () => undefined },
    now: () => now,
  });
  const write = async (text: string): Promise<void> => {
    await writeFile(program, text);
    now = (await stat(program)).ctimeMs + 10;
  };
  await writeFile(join(root, 'package.json'), '{"version":"0.1.0"}');
  await write('a part');
  t.match(refusal(), { code: 'package_being_written', message: programs }, 'no engine is started');
  now += 2000;
  t.equal(refusal(), undefined);
  await writeFile(join(root, 'package.json'), '{"version":"0.2.0"}');
  await write('another part');
  t.match(refusal(), { code: 'package_being_written' });
  t.equal(restarts, 0);
  now += 2000;
  t.match([refusal(), refusal()], [{ code: 'restart_due' }, { code: 'restart_due' }]);
  t.equal(restarts, 1, 'once with these files');
  await write('the other part');
  t.match(refusal(), { code: 'package_being_written' });
  now += 2000;
  t.match(refusal(), { code: 'restart_due' });
  t.equal(restarts, 2, 'at once with files that were written since');
});
