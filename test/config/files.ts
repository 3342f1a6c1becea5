// Folders and files for the config tests.
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Test } from 'tap';

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
