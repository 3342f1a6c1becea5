// Finds the repository, so that built tests can read the vectors beside the sources.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json, walking up from this file. */
function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('no package.json above the tests');
    folder = parent;
  }
  return folder;
}

/** Parses a file of test/vectors; the caller states its shape. */
export function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(repositoryRoot(), 'test/vectors', name), 'utf8')) as T;
}
