// The stamp of a file, which changes with its content.
import { statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isOnLocalDisk } from './local-disk.ts';

/** Empty for a missing file. The change time shows a replacement that keeps size and modification time. */
export async function stampOf(path: string | Buffer): Promise<string> {
  if (isOnLocalDisk(String(path))) return stampNow(path);
  try {
    return stampFrom(await stat(path, { bigint: true }));
  } catch {
    return '';
  }
}

/** `stampOf`, for a file on a disk of this machine. */
export function stampNow(path: string | Buffer): string {
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

/**
 * ms for which a file that has just been changed may change again without another stamp: the kernel's clock of files moves in steps of up to
 * 10 ms. A file system that keeps whole seconds needs two of them.
 */
const YOUNG_MS = 20;
const YOUNG_IN_SECONDS_MS = 2000;
/** The end of the stamp of a young file. */
const YOUNG = '~';

/** The stamp of a file that is about to be read. That of a young file equals no later stamp, so the file is read again. */
export function asRead(stamp: string, now = Date.now()): string {
  // The times may be negative, and then begin with a hyphen.
  const changed = /^-?\d+-(\d+)-/.exec(stamp)?.[1];
  if (changed === undefined) return stamp;
  const youngMs = changed.endsWith('000000000') ? YOUNG_IN_SECONDS_MS : YOUNG_MS;
  return Math.abs(now - Number(changed) / 1e6) < youngMs ? `${stamp}${YOUNG}` : stamp;
}

/** Whether the file was young when it was read. `read`: what `asRead` returned. */
export function wasYoung(read: string): boolean {
  return read.endsWith(YOUNG);
}

/** Whether a file that was young when it was read has the same stamp now. */
export function isStill(read: string, now: string): boolean {
  return read === `${now}${YOUNG}`;
}
