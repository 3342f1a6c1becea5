// Reads small files of other programs (metadata, auth state, principal id) with a size limit. A named pipe is refused, not waited for.
import { constants, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';

/** Default size limit, bytes. */
const MAX_SMALL_FILE = 64 * 1024;

/**
 * Reads a regular file of at most `limit` bytes. Rejects with Node's error, when the file is too large or not a regular file, or with what
 * `check` throws for the opened file.
 */
export async function readBounded(
  path: string,
  limit: number = MAX_SMALL_FILE,
  check?: (info: Stats) => void,
): Promise<Buffer> {
  // Without O_NONBLOCK, opening a named pipe waits for a writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new Error('it is not a regular file');
    check?.(info);
    const buffer = Buffer.alloc(limit + 1);
    let length = 0;
    while (length <= limit) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) return buffer.subarray(0, length);
      length += bytesRead;
    }
    throw new Error(`it is larger than ${String(limit)} bytes`);
  } finally {
    await file.close();
  }
}

/** Decodes UTF-8; throws if `bytes` is not UTF-8. A byte order mark stays in the text, as in Rust, in which bmux is written. */
export function strictUtf8(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
}
