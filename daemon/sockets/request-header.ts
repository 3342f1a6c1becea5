// Reads the Bmux-Request header of a message. It may occur once; its content is a JSON object.
import type { IncomingMessage } from 'node:http';
import { fail } from '../errors/fail.ts';

/** The text of the header; undefined when the message has none. Throws `request_field_invalid` when it has several. */
export function requestHeader(message: IncomingMessage): string | undefined {
  const headers = message.headersDistinct['bmux-request'];
  if (headers !== undefined && headers.length > 1) {
    throw fail('request_field_invalid', {
      field: 'Bmux-Request',
      why: 'the header is there more than once',
    });
  }
  return headers?.[0];
}
