// The connection of the embedded server after its client requested raw bytes (traffic.ts).
import type { FrameSocket } from './frame-socket.ts';
import type { FrameWriter } from './frame-writer.ts';
import { PatternCheck, patternPieces, type RawMode, type SinkReport } from '../traffic.ts';

export interface RawConnection {
  readonly onChunk: (chunk: Buffer) => void;
  readonly onEnd: () => void;
}

/** `close` ends the connection once everything is written. */
export function rawConnection(
  mode: RawMode,
  socket: FrameSocket,
  writer: FrameWriter,
  close: () => void,
): RawConnection {
  switch (mode.type) {
    case 'echo':
      return {
        onChunk: (chunk) => void writer.send(chunk).then(() => socket.next()),
        onEnd: close,
      };
    case 'source': {
      void source(mode.bytes, socket, writer);
      // Half-close: the client's end does not cut off the answer.
      return { onChunk: () => socket.next(), onEnd: () => undefined };
    }
    case 'sink': {
      const check = new PatternCheck();
      return {
        onChunk: (chunk) => {
          check.push(chunk);
          socket.next();
        },
        onEnd: () => {
          const report: SinkReport = { count: check.count, badAt: check.badAt ?? null };
          void writer.send(Buffer.from(`${JSON.stringify(report)}\n`)).then(close);
        },
      };
    }
  }
}

async function source(bytes: number, socket: FrameSocket, writer: FrameWriter): Promise<void> {
  for (const piece of patternPieces(bytes)) {
    if (socket.closed) return;
    await writer.send(piece);
  }
  await writer.drained();
  socket.close();
}
