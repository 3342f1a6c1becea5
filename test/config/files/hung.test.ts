// A file system, and a folder watcher, that do not answer.
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { mock } from 'node:test';
import { FSWatcher } from 'chokidar';
import t from 'tap';
import { SYSTEM_CLOCK } from '../../../daemon/base/async/clock.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { readSmallFile } from '../../../daemon/config/files/file.ts';
import { SteadyFiles } from '../../../daemon/config/files/steady-files.ts';
import { watchFiles } from '../../../daemon/config/files/watch.ts';
import { holdTimers } from '../../base/async/held-timers.ts';

t.test('a file is waited for until its limit', async (t) => {
  const hung = mock.method(fs, 'open', () => new Promise(() => undefined));
  t.teardown(() => {
    hung.mock.restore();
  });
  const timers = holdTimers(t);
  let why: unknown;
  const reading = readSmallFile('/mnt/bmux.toml', new Map()).catch((error: unknown) => (why = error));
  await timers.pass(LIMITS.fileReadMs - 1);
  t.equal(why, undefined);
  await timers.pass(1);
  await timers.until('its end', () => why !== undefined);
  await reading;
  t.match(why, { code: 'file_unreadable' });
});

t.test('the end of a folder watcher is waited for until its limit', async (t) => {
  const close = mock.method(FSWatcher.prototype, 'close', () => new Promise(() => undefined));
  t.teardown(() => {
    close.mock.restore();
  });
  const said: string[] = [];
  const watch = watchFiles({
    files: () => [join(t.testdir({}), 'bmux.toml')],
    through: new SteadyFiles(SYSTEM_CLOCK),
    onChange: () => undefined,
    log: (text) => said.push(text),
  });
  const timers = holdTimers(t);
  let isClosed = false;
  void watch.close().then(() => (isClosed = true));
  await timers.pass(999);
  t.equal(isClosed, false);
  await timers.pass(1);
  await timers.until('the end', () => isClosed);
  t.strictSame(said, ['watching files: the folder watcher does not end']);
  const watchers = close.mock.calls.map(({ this: watcher }) => watcher as FSWatcher);
  close.mock.restore();
  await Promise.all(watchers.map((watcher) => watcher.close()));
});
