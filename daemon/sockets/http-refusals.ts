// Limits of the daemon's HTTP servers, and their refusals of invalid, oversized and incomplete requests.
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { MAX_HEADER_BYTES } from '../api/upgrade.ts';
import type { Failure } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import { fail } from '../errors/fail.ts';
import { problemOf, PROBLEM_TYPE } from '../errors/problem.ts';
import { refuse } from './http-answer.ts';

/** ms between two checks for incomplete requests, while there are connections. */
const CHECK_MS = 1000;
/** Node's code of its own refusal for that. */
const LATE = 'ERR_HTTP_REQUEST_TIMEOUT';

/** Limits of an HTTP server on a Unix socket. */
export const HTTP_LIMITS = {
  // Node's default is 16 KiB.
  maxHeaderSize: MAX_HEADER_BYTES,
  headersTimeout: LIMITS.requestMs,
  requestTimeout: LIMITS.requestMs,
  // A Host header has no meaning on a Unix socket.
  requireHostHeader: false,
} as const satisfies ServerOptions;

/**
 * Refuses requests that have not arrived within `LIMITS.requestMs`. Node checks that, too, but with a timer that never rests: at its default
 * of 30 s it is the net under this one.
 */
export function refuseLate(server: Server): void {
  /** Since when a request is expected, the oldest first, and its head if that has come. */
  const expected = new Map<Socket, { readonly since: number; readonly message?: IncomingMessage }>();
  let stop: (() => void) | undefined;
  const over = (socket: Socket): void => {
    expected.delete(socket);
    if (expected.size > 0) return;
    stop?.();
    stop = undefined;
  };
  const expect = (socket: Socket, message?: IncomingMessage): void => {
    expected.delete(socket);
    expected.set(socket, { since: performance.now(), ...(message === undefined ? {} : { message }) });
    stop ??= SYSTEM_CLOCK.every(CHECK_MS, look);
  };
  const refuseUntil = (latest: number): void => {
    for (const [socket, { since, message }] of expected) {
      if (message?.complete === true) over(socket);
      else if (since <= latest) {
        over(socket);
        server.emit('clientError', Object.assign(new Error('late'), { code: LATE }), socket);
      }
    }
  };
  // A process that was busy finds its timers due before it has read what has arrived. So it reads first.
  const look = (): void => {
    setImmediate(refuseUntil, performance.now() - LIMITS.requestMs);
  };
  server.on('connection', (socket) => {
    expect(socket);
    socket.once('close', () => {
      over(socket);
    });
  });
  server.on('request', (message) => {
    expect(message.socket, message);
  });
  for (const event of ['upgrade', 'connect'] as const)
    server.on(event, ({ socket }: IncomingMessage) => {
      over(socket);
    });
}

/** Adds answers with problem details to CONNECT and unsupported Expect headers. Node answers these without a body, or not at all. */
export function refuseUnsupported(server: Server): void {
  server.on('connect', (message: IncomingMessage, socket) => {
    const failure = fail('route_unknown', { method: 'CONNECT', path: (message.url ?? '').slice(0, 200) });
    if (socket instanceof Socket) refuse(socket, failure.data);
    else socket.destroy();
  });
  server.on('checkExpectation', (_message: IncomingMessage, response: ServerResponse) => {
    answerProblem(response, fail('request_malformed', { why: 'its Expect header is not supported' }));
  });
}

/** Answers with problem details, then closes the connection. */
export function answerProblem(
  response: ServerResponse,
  { data }: Failure,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify(problemOf(data));
  response.writeHead(data.status, {
    'Content-Type': PROBLEM_TYPE,
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
    ...headers,
  });
  response.end(body);
}

/** Handler for the 'clientError' event of a server. Returns what the client was told, if it is still there. */
export function onClientError(
  error: Error & { readonly code?: string },
  socket: Socket,
): Failure | undefined {
  if (socket.destroyed || !socket.writable) {
    socket.destroy();
    return undefined;
  }
  const failure = clientFailure(error.code);
  refuse(socket, failure.data);
  return failure;
}

function clientFailure(code: string | undefined): Failure {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return fail('request_too_large', { limit: MAX_HEADER_BYTES });
    case LATE:
      return fail('request_timeout', { ms: LIMITS.requestMs });
    default:
      return fail('request_malformed', { why: code ?? 'broken HTTP' });
  }
}
