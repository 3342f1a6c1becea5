// Raw HTTP answers to an upgrade request: the `101`, and refusals. Node leaves both to the owner of the socket.
import type { Socket } from 'node:net';
import type { FailureData } from '../base/failure.ts';
import type { StreamInfo, Waiting } from '../api/answers.ts';
import { asciiJson } from '../api/header.ts';
import { closeLingering } from './accepted-socket.ts';
import { problemOf, PROBLEM_TYPE } from '../errors/problem.ts';
import { STREAM_PROTOCOL } from '../api/request.ts';
import { WAITING_HEADER } from '../api/upgrade.ts';

/** The head of a `101 Switching Protocols`. The bytes of the stream follow it. */
export function switching(info: StreamInfo): string {
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\nBmux-Stream: ${asciiJson(info)}\r\n\r\n`;
}

/** An interim answer to a client that takes those: what its request waits for. */
export function processing(waiting: Waiting): string {
  return `HTTP/1.1 102 Processing\r\n${WAITING_HEADER}: ${asciiJson(waiting)}\r\n\r\n`;
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  413: 'Content Too Large',
  426: 'Upgrade Required',
  431: 'Request Header Fields Too Large',
  499: 'Client Closed Request',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** A complete refusal with `Connection: close`, its body problem details (RFC 9457). A 204 has no body (RFC 9110, section 15.3.5). */
function refusal(failure: FailureData, requestId?: string): string {
  if (failure.status === 204) return 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n';
  const body = JSON.stringify(problemOf(failure, requestId));
  return [
    `HTTP/1.1 ${String(failure.status)} ${REASONS[failure.status] ?? 'Error'}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${String(Buffer.byteLength(body))}`,
    ...(failure.status === 426 ? [`Upgrade: ${STREAM_PROTOCOL}`] : []),
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}

/** Writes a refusal and closes the socket. See `closeLingering`. */
export function refuse(socket: Socket, failure: FailureData, requestId?: string): void {
  closeLingering(socket, refusal(failure, requestId));
}
