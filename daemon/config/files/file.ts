// Reads one small file and tells whether it has changed. Config layers and the file watch are built on it.
import { constants, promises as fs, statSync } from 'node:fs';
import { inTime } from '../../base/async/deadline.ts';
import { errnoOf } from '../../base/failure.ts';
import { isOnLocalDisk } from '../../base/files/local-disk.ts';
import { asRead, stampFrom } from '../../base/files/stamp.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';

/**
 * Largest file that is read, bytes. bmux has no limit. A config into which it wrote every default is about 30 KiB, and one of 10,000 targets
 * 1.8 MiB.
 */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** Bytes of one read. */
const PIECE = 64 * 1024;

/** State of a file: its stamp, `missing`, or `error:CODE`. Equal marks mean an unchanged file. */
export type Mark = string;
/** Marks of all files that were checked, by path; existing or not. */
export type Marks = Map<string, Mark>;

export const MISSING: Mark = 'missing';
const FAILED = 'error:';

function failedMark(error: unknown): Mark {
  const code = errnoOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR' ? MISSING : `${FAILED}${code ?? 'unknown'}`;
}

function bounded<T>(work: Promise<T>, path: string): Promise<T> {
  return inTime(work, LIMITS.fileReadMs, () =>
    fail(
      'file_unreadable',
      { path },
      new Error(`no answer from the file system within ${String(LIMITS.fileReadMs)} ms`),
    ),
  );
}

/** The mark of `path` now; never fails. */
export async function markNow(path: string): Promise<Mark> {
  if (isOnLocalDisk(path)) return markNowSync(path);
  return bounded(fs.stat(path, { bigint: true }), path).then(stampFrom, failedMark);
}

/** Synchronous `markNow`, for local disks and for the moment at which a watch starts. */
export function markNowSync(path: string): Mark {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? MISSING : stampFrom(stat);
  } catch (error) {
    return failedMark(error);
  }
}

async function readWhole(path: string, marks: Marks): Promise<Uint8Array> {
  // O_NONBLOCK, because opening a FIFO must not block; anything but a regular file is refused below.
  const file = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat({ bigint: true });
    // The mark of the open file, taken before reading, so that a later write is seen as a change.
    marks.set(path, asRead(stampFrom(stat)));
    if (!stat.isFile()) throw new Error('not a regular file');
    // Reads to the end and not to the size, because the file may be growing.
    const pieces: Buffer[] = [];
    for (let length = 0; ;) {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(PIECE), 0, PIECE, length);
      if (bytesRead === 0) return Buffer.concat(pieces);
      length += bytesRead;
      if (length > MAX_FILE_BYTES) throw new Error(`larger than ${String(MAX_FILE_BYTES)} bytes`);
      pieces.push(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** `readSmallFile`, or a function that reads through something. */
export type ReadFile = typeof readSmallFile;

/** Returns the bytes of `path`, undefined when there is no such file. Fails with `file_unreadable`. Records the file's mark in `marks`. */
export async function readSmallFile(path: string, marks: Marks): Promise<Uint8Array | undefined> {
  try {
    return await bounded(readWhole(path, marks), path);
  } catch (error) {
    const mark = failedMark(error);
    if (!marks.has(path)) marks.set(path, mark);
    if (mark === MISSING) return undefined;
    throw fail('file_unreadable', { path }, error);
  }
}
