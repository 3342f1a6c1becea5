// Reads the files from which the system's roots come: bundles, and directories with thousands of files.
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Slices } from '../../../base/async/slices.ts';
import { errnoOf, textOf } from '../../../base/failure.ts';
import { isOnLocalDisk } from '../../../base/files/local-disk.ts';
import { stampNow, stampOf } from '../../../base/files/stamp.ts';
import { piecesOf } from './pem.ts';

/** Maximum size of a bundle, bytes: a system bundle has about 200 KiB. bmux has no limit. */
const BUNDLE_MAX = 32 << 20;
export const DIRECTORY_FILES_MAX = 20_000;
/** Files of a directory that are read at the same time. */
const READS_AT_ONCE = 16;

/** Where roots are looked for. */
export interface Origin {
  readonly kind: 'file' | 'directory';
  readonly path: string;
}

/** A few at a time: thousands of reads at once would hold up everything else. */
export async function inGroups<T>(
  all: readonly T[],
  use: (some: readonly T[]) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < all.length; at += READS_AT_ONCE) await use(all.slice(at, at + READS_AT_ONCE));
}

/** The files in a directory with any name, also through symlinks. Where a name is not UTF-8, which Node's text would not lead to, in bytes. */
export async function filesIn(directory: string): Promise<(string | Buffer)[]> {
  const names = (await readdir(directory)).sort().slice(0, DIRECTORY_FILES_MAX);
  if (!names.some((name) => name.includes('\ufffd'))) return names.map((name) => join(directory, name));
  const bytes = (await readdir(directory, { encoding: 'buffer' })).sort((a, b) => Buffer.compare(a, b));
  return bytes
    .slice(0, DIRECTORY_FILES_MAX)
    .map((name) => Buffer.concat([Buffer.from(join(directory, '/')), name]));
}

/** Its text in pieces. Empty for what is no file, for a file that cannot be read, and for one that is in `read` under another name. */
export async function piecesOfFile(
  path: string | Buffer,
  read: Set<string>,
  problems: string[],
): Promise<Iterable<string>> {
  try {
    const found = await stat(path);
    const id = `${String(found.dev)}-${String(found.ino)}`;
    if (!found.isFile() || read.has(id)) return [];
    if (found.size > BUNDLE_MAX) throw new Error(`larger than ${String(BUNDLE_MAX)} bytes`);
    read.add(id);
    return piecesOf(await readFile(path));
  } catch (error) {
    // A link to nothing is usual in a folder of certificates.
    if (errnoOf(error) !== 'ENOENT' || read.size === 0) problems.push(`${String(path)}: ${textOf(error)}`);
    return [];
  }
}

/** The stamps of all files in the directories. Never rejects. */
export async function fileStamps(
  origins: readonly Origin[],
  noted: (stamp: string) => string = (stamp) => stamp,
): Promise<string[]> {
  const slices = new Slices();
  const stamps: string[] = [];
  for (const { kind, path } of origins) {
    if (kind !== 'directory') continue;
    const files = await filesIn(path).catch(() => []);
    if (!isOnLocalDisk(path)) {
      await inGroups(files, async (some) => {
        stamps.push(...(await Promise.all(some.map(stampOf))).map((stamp) => noted(stamp)));
      });
      continue;
    }
    // A thread for each of hundreds of files would take ten times as long.
    for (const file of files) {
      await slices.next();
      stamps.push(noted(stampNow(file)));
    }
  }
  return stamps;
}
