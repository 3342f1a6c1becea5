// Tells a daemon that is stuck from one that is busy with a long dial: it is asked for its health on a socket of its own.
import { connect } from 'node:net';
import { LIMITS } from '../daemon/wire/limits.ts';

/**
 * Whether anything is answered within `LIMITS.healthMs`, to a second question if not to the first: on a busy machine one answer may be late.
 * A daemon that is gone counts as answering: the first socket will hear of it.
 */
export async function isAnswering(socketPath: string): Promise<boolean> {
  return (await answers(socketPath)) || answers(socketPath);
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const done = (answering: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answering);
    };
    const timer = setTimeout(() => {
      done(false);
    }, LIMITS.healthMs);
    socket.on('connect', () => {
      socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', () => {
      done(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // EAGAIN: its queue of connections is full, since it accepts none; it has as long to do so as any other.
      if (error.code !== 'EAGAIN') done(true);
    });
    socket.on('end', () => {
      done(true);
    });
  });
}
