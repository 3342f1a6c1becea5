// Sends one HTTP request of a command to the daemon. Written by hand, because loading Node's HTTP client takes longer than the request.
import type { Socket } from 'node:net';
import { readAnswer } from '../../client-shim/answer.ts';
import { connectTo } from '../../client-shim/control-socket.ts';
import { onSilence } from '../base/async/deadline.ts';
import { headOf, takeSent } from './status/early.ts';

/** bmuxd sends no answer larger than this: 10,000 stream rows take about 4 MB. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

export interface ControlQuestion {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** ms for the whole exchange. */
  readonly timeoutMs: number;
}

export interface ControlAnswer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Parsed JSON; undefined when the answer is not JSON. */
  readonly body: unknown;
}

/** Rejects an exchange in which no answer came in time. */
export class NoAnswer extends Error {
  constructor(ms: number) {
    super(`no answer within ${String(ms)} ms`);
    this.name = 'NoAnswer';
  }
}

/** An exchange: its answer, and how to end it before. */
export interface Exchange {
  /**
   * Rejects with the system's error (ENOENT or ECONNREFUSED when no process listens, ECONNRESET when it ends without an answer), with
   * `path_insecure`, or with `NoAnswer`.
   */
  readonly answer: Promise<ControlAnswer>;
  /** Ends the exchange. The answer is pending then for ever, so that nobody needs to handle it. */
  readonly end: () => void;
}

export function controlRequest(socketPath: string, question: ControlQuestion): Exchange {
  const sent = takeSent(socketPath, question.method, question.path);
  const socket = sent?.socket ?? connectTo(socketPath);
  const silence = { over: (): void => undefined };
  const end = (): void => {
    silence.over();
    // A later error of this socket must not end the process.
    socket.removeAllListeners().on('error', () => undefined);
    socket.destroy();
  };
  const answer = new Promise<ControlAnswer>((resolve, reject) => {
    silence.over = onSilence(question.timeoutMs, () => {
      end();
      reject(new NoAnswer(question.timeoutMs));
    });
    const done = (result: ControlAnswer | Error): void => {
      end();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const lost = sent?.error();
    if (lost !== undefined) {
      done(lost);
      return;
    }
    if (sent === undefined) send(socket, question);
    receive(socket, done);
  });
  return { answer, end };
}

function send(socket: Socket, { method, path, headers = {} }: ControlQuestion): void {
  socket.on('connect', () => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const length = method === 'GET' ? '' : 'Content-Length: 0\r\n';
    socket.write(headOf(method, path, length + lines.join('')));
  });
}

function receive(socket: Socket, done: (result: ControlAnswer | Error) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  /** How many bytes the whole answer has, when its head says so. */
  let expected = Number.POSITIVE_INFINITY;
  const finish = (): void => {
    const answer = readAnswer(Buffer.concat(chunks));
    if (answer?.complete !== true || answer.status === 0) done(cut(size));
    else done({ status: answer.status, headers: answer.headers, body: parsed(answer.rest) });
  };
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (expected === Number.POSITIVE_INFINITY) {
      const head = readAnswer(Buffer.concat(chunks));
      const length = head?.headers['content-length'];
      if (head !== undefined && length !== undefined) expected = size - head.rest.length + Number(length);
    }
    if (size > MAX_ANSWER_BYTES) done(new Error('the answer is too large'));
    else if (size >= expected) finish();
  });
  socket.on('end', finish);
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
