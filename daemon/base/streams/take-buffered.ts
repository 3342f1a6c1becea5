// What a stream has in its buffer, also when it is destroyed already.
import type { Readable } from 'node:stream';

/** Takes the chunks that have arrived and that nobody has read yet; a broken stream emits no more 'data', but it keeps them. */
export function* takeBuffered(stream: Readable): Generator<Buffer, void, void> {
  for (let chunk: unknown = stream.read(); Buffer.isBuffer(chunk); chunk = stream.read()) yield chunk;
}
