// Writes bmuxd's small files. A file is replaced in one step, so that a reader sees either the old or the new content, never a part.
import { rename, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from './make-folder.ts';

/** Number of writes of this process; part of the temporary name, so that two writes of one file use different temporary files. */
let writes = 0;

/** Writes `text` to a temporary file beside `path` and renames it. The folder is made with mode 0700, the file has mode 0600. */
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
