// The user's identity for servers: one UUID in a file, created once, also when processes start together (docs/bmux-protocol.md, "Principal").
import { randomUUID } from 'node:crypto';
import { link, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../base/failure.ts';
import { Deadline } from '../base/async/deadline.ts';
import { makeFolder } from '../base/files/make-folder.ts';
import type { BmuxPaths } from '../base/paths.ts';
import { readBounded, strictUtf8 } from '../base/files/read-bounded.ts';
import { fail } from '../errors/fail.ts';
import { parseUuid } from './uuid.ts';
import { sleep } from '../base/async/sleep.ts';

/** How long an empty file is treated as unfinished, ms: bmux creates the file and writes it in a second step. */
const BEING_WRITTEN_MS = 250;
const LOOK_AGAIN_MS = 10;
/** Longest content that a text shows, UTF-16 units. */
const SHOWN = 200;
/** Error codes of `link` on a file system without hard links. */
const NO_HARD_LINKS: ReadonlySet<string | undefined> = new Set([
  'EPERM',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EMLINK',
]);

/**
 * Returns the principal id, hyphenated and lower case. Creates the file and its folders when missing. Any number of bmuxd processes that do
 * this at once get the same id, and no reader sees a partial file. bmux itself overwrites without a check, and may replace the id when it
 * starts at the same instant. So read the id again for every stream. Fails with `principal_invalid` (the file holds something else),
 * `principal_unreadable`, `principal_unwritable` or `principal_dir_uncreatable`.
 */
export async function loadPrincipalId(options: { paths: Pick<BmuxPaths, 'principalId'> }): Promise<string> {
  const path = options.paths.principalId;
  const folder = dirname(path);
  try {
    await makeFolder(folder);
  } catch (error) {
    throw fail('principal_dir_uncreatable', { path: folder }, error);
  }
  const found = await readId(path);
  if (found !== undefined) return found;
  await placeNewId(path, folder);
  const placed = await readId(path);
  if (placed !== undefined) return placed;
  // The file was created and removed again, or is a symlink to nothing.
  throw fail('principal_unreadable', { path }, new Error('the file vanished, or is a symlink to nothing'));
}

/** Reads the id; undefined when there is no file. */
async function readId(path: string): Promise<string | undefined> {
  const deadline = new Deadline(BEING_WRITTEN_MS);
  for (;;) {
    let content: string;
    try {
      content = strictUtf8(await readBounded(path)).trim();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw fail('principal_unreadable', { path }, error);
    }
    const id = parseUuid(content);
    if (id !== undefined) return id;
    if (content !== '' || deadline.remaining() === 0) {
      const shown = content.length > SHOWN ? `${content.slice(0, SHOWN)}…` : content;
      throw fail('principal_invalid', { path, content: shown });
    }
    await sleep(LOOK_AGAIN_MS);
  }
}

/** Writes a new id to `path` atomically, unless another process has written one first. */
async function placeNewId(path: string, folder: string): Promise<void> {
  const id = randomUUID();
  const temporary = join(folder, `.principal-id.${randomUUID()}.tmp`);
  try {
    await writeNew(temporary, id);
    try {
      await link(temporary, path);
    } catch (error) {
      // Without hard links the file is empty for a moment; readers wait for its content.
      if (NO_HARD_LINKS.has(errnoOf(error))) await writeNew(path, id);
      else throw error;
    } finally {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw fail('principal_unwritable', { path }, error);
  }
}

async function writeNew(path: string, content: string): Promise<void> {
  // Without the flush, a crash of the machine can leave an empty file that stays empty. Not FileHandle.sync: Yarn's Plug'n'Play has none.
  await writeFile(path, content, { flag: 'wx', flush: true });
}
