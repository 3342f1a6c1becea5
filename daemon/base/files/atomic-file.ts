// Writes bmuxd's small files: a file is replaced in one step, so that a reader sees the old or the new content, never a part.
import { rename, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from './make-folder.ts';

/** Writes of this process so far: two of one file must not share a temporary one. */
let writes = 0;

/** Writes `text` to `path` by way of a temporary file beside it. The folder is made with mode 0700, the file has mode 0600. */
export async function writeAtomic(path: string, text: string): Promise<void> {
  await makeFolder(dirname(path));
  const temporary = `${path}.${String(process.pid)}-${String((writes += 1))}.tmp`;
  try {
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}
