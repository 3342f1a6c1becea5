// Finds the real programs, beside the repository or on PATH. Tests are reported as skipped when they are missing.
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root: the nearest folder above this file that contains a package.json. */
export function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('no package.json above the tests');
    folder = parent;
  }
  return folder;
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** An executable on PATH, or undefined. */
export function onPath(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(executable);
}

function find(name: string): string | undefined {
  const beside = join(repositoryRoot(), '..', 'shared', 'real', name);
  return executable(beside) ? beside : onPath(name);
}

/** Path of a real `bmux` (epoch 4), or undefined. */
export function realBmux(): string | undefined {
  return find('bmux');
}

/** Path of a real `iroh-relay`, or undefined. */
export function realRelay(): string | undefined {
  return find('iroh-relay');
}
