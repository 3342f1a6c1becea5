// The Bmux-Request header of a message: one JSON object, sent once.
import type { IncomingMessage } from 'node:http';
import { parseRequest } from '../request/parse.ts';
import { fail } from '../wire/fail.ts';
import type { StreamRequest } from '../wire/request.ts';

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
  return parseRequest(headers[0]);
}
