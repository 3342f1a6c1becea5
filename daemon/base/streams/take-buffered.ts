// Reads the buffer of a stream, also of a destroyed one.
import type { Readable } from 'node:stream';

/** Takes the chunks that have arrived and are not read yet; a destroyed stream emits no more 'data', but keeps them. */
export function* takeBuffered(stream: Readable): Generator<Buffer, void, void> {
  for (let chunk: unknown = stream.read(); Buffer.isBuffer(chunk); chunk = stream.read()) yield chunk;
}
