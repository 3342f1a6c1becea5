// A file that vanishes stays in force for a while, with its content and its mark, and then it is gone.
import { appendFileSync } from 'node:fs';
import { rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { SteadyFiles } from '../../../daemon/config/files/steady-files.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { folderFor, passed, put } from '../files.ts';

async function rig(t: Test) {
  const folder = await folderFor(t);
  const path = join(folder, 'x.toml');
  const clock = new FakeClock();
  const files = new SteadyFiles(clock);
  t.teardown(() => {
    files.close();
  });
  let gone = 0;
  files.onGone(() => (gone += 1));
  const text = async (): Promise<string | undefined> => {
    const bytes = await files.read(path, new Map());
    return bytes === undefined ? undefined : Buffer.from(bytes).toString();
  };
  await put(path, 'one');
  // Time for the file to keep its mark: one that has just been changed is read again.
  await sleep(100);
  t.equal(await text(), 'one');
  return { path, clock, files, text, gone: () => gone };
}

t.test('a file that is away for an instant has not changed', async (t) => {
  const { path, clock, files, text, gone } = await rig(t);
  let mark = await files.mark(path);
  // Each absence is short, and all of them together are long.
  for (let n = 0; n < 8; n += 1) {
    await rename(path, `${path}~`);
    t.equal(await files.mark(path), mark);
    t.equal(await text(), 'one');
    t.notOk(await files.anyChanged(new Map([[path, mark]])));
    await clock.advance(LIMITS.absenceMs - 600);
    t.equal(await text(), 'one');
    await rename(`${path}~`, path);
    await sleep(30);
    // The rename has changed the mark, so the file is read again.
    t.equal(await text(), 'one');
    mark = await files.mark(path);
  }
  await passed(clock, 'the checks to end', () => Promise.resolve(clock.waiting === 0));
  t.equal(gone(), 0);
});

t.test('a file that is removed is gone after a while, without anybody asking', async (t) => {
  const { path, clock, files, text, gone } = await rig(t);
  const mark = await files.mark(path);
  await unlink(path);
  t.equal(await files.mark(path), mark);
  await passed(clock, 'the absence to be believed', () => Promise.resolve(gone() === 1));
  t.ok(await files.anyChanged(new Map([[path, mark]])));
  t.equal(await text(), undefined);
  t.equal(clock.waiting, 0, 'it is no longer checked');
  await put(path, 'two');
  t.equal(await text(), 'two', 'it may come back');
});

t.test('a machine that slept has not seen that the file was there meanwhile', async (t) => {
  const { path, clock, text } = await rig(t);
  await unlink(path);
  t.equal(await text(), 'one');
  clock.jump(60 * 60_000);
  t.equal(await text(), 'one');
});

t.test('another file in its place is in force at once', async (t) => {
  const { path, files, text } = await rig(t);
  const mark = await files.mark(path);
  await unlink(path);
  await files.mark(path);
  await put(path, 'three');
  t.ok(await files.anyChanged(new Map([[path, mark]])));
  t.equal(await text(), 'three');
});

t.test('a file that is written in pieces is read when it is whole', async (t) => {
  const { path, text } = await rig(t);
  for (let tookMs = Infinity; tookMs > LIMITS.fileSettledMs / 2;) {
    const since = performance.now();
    await put(path, '');
    const read = text();
    for (const piece of ['first ', 'second ', 'third']) {
      await sleep(2);
      appendFileSync(path, piece);
    }
    tookMs = performance.now() - since;
    const got = await read;
    // A writer that the machine has held up is not waited for.
    if (tookMs <= LIMITS.fileSettledMs / 2) t.equal(got, 'first second third');
  }
});

t.test('a file that is written again and again is read all the same', async (t) => {
  const { path, text } = await rig(t);
  await put(path, 'piece 0');
  let isWriting = true;
  const writing = (async () => {
    for (let n = 1; isWriting; n += 1) {
      await put(path, `piece ${n}`);
      await sleep(1);
    }
  })();
  t.match(await text(), /^(?:piece \d+)?$/);
  isWriting = false;
  await writing;
});

t.test('close() ends the checks', async (t) => {
  const { path, clock, files } = await rig(t);
  await unlink(path);
  await files.mark(path);
  t.equal(clock.waiting, 1);
  files.close();
  t.equal(clock.waiting, 0);
  await files.mark(path);
  t.equal(clock.waiting, 0);
});
