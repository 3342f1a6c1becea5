// Identifies a build by the size and modification time of its executable (docs/bmux-protocol.md, "Build ids").
import { stat } from 'node:fs/promises';
import { buildIdFrom } from '../base/build-id.ts';
import { fail } from '../errors/fail.ts';

/**
 * The build id of the executable at `path`: `{size in bytes}-{mtime in whole ms since the epoch}`, 0 ms where the time is before the epoch.
 * Symlinks are followed. Fails with `executable_unreadable`.
 */
export async function buildIdOf(path: string): Promise<string> {
  try {
    return buildIdFrom(await stat(path, { bigint: true }));
  } catch (error) {
    throw fail('executable_unreadable', { path }, error);
  }
}
