// Folders and files for the config tests.
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Test } from 'tap';
import type { FakeClock } from '../base/async/fake-clock.ts';
import { waitFor } from '../real/child.ts';

/** A folder that is removed after the test. */
export async function folderFor(t: Test): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'bmuxd-config-')));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a file, with the folders above it. */
export async function put(path: string, text: string | Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** Advances the clock in steps until `done`, since a check of a missing file also takes real time. */
export function passed(clock: FakeClock, what: string, done: () => Promise<boolean>): Promise<void> {
  return waitFor(what, async () => {
    await clock.advance(100);
    return done();
  });
}
