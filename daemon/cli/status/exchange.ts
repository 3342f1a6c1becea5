// One HTTP exchange of a command with the daemon, without a time limit. Written by hand, because loading Node's HTTP client takes longer than
// the exchange. It imports little: `bmuxd status` asks before the rest of the program is loaded.
import type { Socket } from 'node:net';
import { readAnswer } from '../../../client-shim/answer-head.ts';

/** bmuxd sends no answer larger than this: 10,000 stream rows take about 4 MB. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

export interface ControlAnswer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Parsed JSON; undefined when the answer is not JSON. */
  readonly body: unknown;
}

/** An exchange: its answer, and how to end it before. */
export interface Exchange {
  /** Rejects with the error of the socket: ENOENT or ECONNREFUSED when no process listens, ECONNRESET when it ends without an answer. */
  readonly answer: Promise<ControlAnswer>;
  /** Frees the socket. The answer is pending then for ever unless it has come, so that nobody needs to handle it. */
  readonly end: () => void;
}

/** The head of a request without a body. An answer to HTTP/1.0 is never in chunks. */
export function requestHead(method: string, path: string, more = ''): string {
  return `${method} ${path} HTTP/1.0\r\nHost: bmuxd\r\n${more}\r\n`;
}

/** Sends `head` on a new socket, and reads the answer. */
export function exchange(socket: Socket, head: string): Exchange {
  const end = (): void => {
    // A later error of this socket must not end the process.
    socket.removeAllListeners().on('error', () => undefined);
    socket.destroy();
  };
  const answer = new Promise<ControlAnswer>((resolve, reject) => {
    receive(socket, (result) => {
      if (result instanceof Error) reject(result);
      else resolve(result);
    });
  });
  socket.on('connect', () => {
    socket.write(head);
  });
  return { answer, end };
}

function receive(socket: Socket, done: (result: ControlAnswer | Error) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  /** How many bytes the whole answer has, when its head says so. */
  let expected = Number.POSITIVE_INFINITY;
  const finish = (answer = readAnswer(Buffer.concat(chunks))): void => {
    if (answer?.complete !== true || answer.status === 0) done(cut(size));
    else done({ status: answer.status, headers: answer.headers, body: parsed(answer.rest) });
  };
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    let answer;
    if (expected === Number.POSITIVE_INFINITY) {
      answer = readAnswer(Buffer.concat(chunks));
      const length = answer?.headers['content-length'];
      if (answer !== undefined && length !== undefined) expected = size - answer.rest.length + Number(length);
    }
    if (size > MAX_ANSWER_BYTES) done(new Error('the answer is too large'));
    else if (size >= expected) finish(answer);
  });
  socket.on('end', () => {
    finish();
  });
  socket.on('error', done);
}

/** The error for a connection that ended before the answer was complete. */
function cut(received: number): Error {
  if (received > 0) return new Error('its answer is not a complete HTTP answer');
  return Object.assign(new Error('the connection was closed without an answer'), { code: 'ECONNRESET' });
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
