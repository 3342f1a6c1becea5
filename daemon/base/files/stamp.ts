// The stamp of a file, which changes with its content.
import { statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isOnLocalDisk } from './local-disk.ts';

/** Empty for a missing file. The change time shows a replacement that keeps size and modification time. */
export async function stampOf(path: string): Promise<string> {
  if (isOnLocalDisk(path)) return stampNow(path);
  try {
    return stampFrom(await stat(path, { bigint: true }));
  } catch {
    return '';
  }
}

/** `stampOf`, for a file on a disk of this machine. */
export function stampNow(path: string): string {
  try {
    return stampFrom(statSync(path, { bigint: true }));
  } catch {
    return '';
  }
}

export function stampFrom(found: {
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly size: bigint;
  readonly dev: bigint;
  readonly ino: bigint;
}): string {
  return [found.mtimeNs, found.ctimeNs, found.size, found.dev, found.ino].map(String).join('-');
}
