// The Bmux-Request header of a message: one JSON object, sent once.
import type { IncomingMessage } from 'node:http';
import { parseRequest } from '../../request/parse.ts';
import { fail } from '../../errors/fail.ts';
import type { StreamRequest } from '../../api/request.ts';

/** Headers that are remembered: those of as many shells. */
const REMEMBERED_MAX = 16;

/** What a header said, least recently used first: a shell asks in the same words again and again, and the checks are a tenth of control's work. */
const remembered = new Map<string, StreamRequest>();

/** The request that `message` carries; undefined when it has no such header. Rejects what is malformed with its named failure. */
export function requestIn(message: IncomingMessage): StreamRequest | undefined {
  const headers = message.headersDistinct['bmux-request'];
  if (headers === undefined) return undefined;
  if (headers.length > 1) {
    throw fail('request_field_invalid', {
      field: 'Bmux-Request',
      why: 'the header is there more than once',
    });
  }
  const [text] = headers;
  const request = (text === undefined ? undefined : remembered.get(text)) ?? parseRequest(text);
  if (text !== undefined) remember(text, request);
  return request;
}

function remember(text: string, request: StreamRequest): void {
  remembered.delete(text);
  remembered.set(text, request);
  if (remembered.size <= REMEMBERED_MAX) return;
  for (const oldest of remembered.keys()) {
    remembered.delete(oldest);
    return;
  }
}
