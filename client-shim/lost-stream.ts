// Tells the reader of a stream that was lost: an error with code `stream_lost` instead of the end.
import type { Socket } from 'node:net';
import { errnoOf } from '../daemon/base/failure.ts';
import { judgeEnd } from '../daemon/base/streams/judge-end.ts';
import { fail } from '../daemon/errors/fail.ts';

/** Error codes of a socket whose other side is gone. Everything that it sent has been read then. */
const GONE: ReadonlySet<string | undefined> = new Set(['ECONNRESET', 'EPIPE']);

/** `whyLost` is asked once, at the end or a reset of `socket`: on a Unix socket every end looks the same. Undefined: a proper end. */
export function tellWhenLost(socket: Socket, whyLost: () => Promise<string | undefined>): void {
  const judge = judgeEnd(socket, async () => {
    const why = await whyLost();
    return why === undefined ? undefined : fail('stream_lost', { why });
  });
  const destroy = socket.destroy.bind(socket);
  socket.destroy = (error) => (GONE.has(errnoOf(error)) && judge() ? socket : destroy(error));
}
