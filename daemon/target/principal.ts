// The user's identity towards servers: one UUID in a file, made once, the same for processes that start together (docs/bmux-protocol.md, "Principal").
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../base/failure.ts';
import { Deadline } from '../base/async/deadline.ts';
import type { BmuxPaths } from '../base/paths.ts';
import { readBounded, strictUtf8 } from '../base/files/read-bounded.ts';
import { fail } from '../errors/fail.ts';
import { parseUuid } from './uuid.ts';

/** How long an empty file is taken for one that bmux is just writing (it writes in two steps), ms. */
const BEING_WRITTEN_MS = 250;
const LOOK_AGAIN_MS = 10;
/** Longest content that a text shows, UTF-16 units. */
const SHOWN = 200;
/** What `link` says on a file system without hard links. */
const NO_HARD_LINKS: ReadonlySet<string | undefined> = new Set([
  'EPERM',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EMLINK',
]);

/**
 * The principal id, hyphenated and lower case; made and written, with its folders, when there is none. However many of our processes
 * do this at once, all end with the same id, and no reader sees half a file. bmux itself overwrites without looking: one that
 * starts in the same instant may replace the id, so read it again for every stream.
 * Fails with `principal_invalid` (the file holds something else), `principal_unreadable`, `principal_unwritable` or `principal_dir_uncreatable`.
 */
export async function loadPrincipalId(options: { paths: Pick<BmuxPaths, 'principalId'> }): Promise<string> {
  const path = options.paths.principalId;
  const folder = dirname(path);
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fail('principal_dir_uncreatable', { path: folder }, error);
  }
  const found = await readId(path);
  if (found !== undefined) return found;
  await placeNewId(path, folder);
  const placed = await readId(path);
  if (placed !== undefined) return placed;
  // Made and gone again, or a symlink to nothing.
  throw fail('principal_unreadable', { path }, new Error('the file vanished, or is a symlink to nothing'));
}

/** The id in the file; undefined when there is none. */
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
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

/** Puts a new id at `path` in one step, complete, unless somebody else's is there by then. */
async function placeNewId(path: string, folder: string): Promise<void> {
  const id = randomUUID();
  const temporary = join(folder, `.principal-id.${randomUUID()}.tmp`);
  try {
    await writeNew(temporary, id);
    try {
      await link(temporary, path);
    } catch (error) {
      // Without links the file is empty for a moment; readers wait that moment.
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
  const file = await open(path, 'wx');
  try {
    await file.writeFile(content);
    // Without it a crash of the machine can leave the name with nothing in it, for ever.
    await file.sync();
  } finally {
    await file.close();
  }
}
