// From the text of a Bmux-Request header to a checked request: nothing later looks at an unchecked field.
import { Compile } from 'typebox/compile';
import { textOf } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import { MAX_REQUEST_BYTES, RequestSchema, whitelisted, type StreamRequest } from '../api/request.ts';
import { explain } from './explain.ts';

const checker = Compile(RequestSchema);

/**
 * The request that a header holds: one JSON object, escaped to ASCII (`asciiJson` makes it), fields as in `RequestSchema`.
 * `header` is undefined where the request has none; that it came only once is the caller's to see to.
 * Fails with `request_header_missing`, `request_too_large`, `request_json_invalid` or `request_field_invalid`, which names the first wrong field.
 */
export function parseRequest(header: string | undefined): StreamRequest {
  if (header === undefined || header.trim() === '') throw fail('request_header_missing');
  if (header.length > MAX_REQUEST_BYTES) throw fail('request_too_large', { limit: MAX_REQUEST_BYTES });
  const value = parseJson(header);
  if (!checker.Check(value)) throw fail('request_field_invalid', explain(checker.Errors(value)));
  const { env, ...rest } = value;
  const request = { ...rest, ...(env === undefined ? {} : { env: whitelisted(env) }) };
  refuseNul(request);
  return request;
}

function parseJson(header: string): unknown {
  // Node reads headers as Latin-1: UTF-8 that was not escaped would arrive as other characters, without an error.
  if (/[^\t\x20-\x7e]/.test(header)) {
    throw fail('request_json_invalid', { why: 'it has a character outside ASCII; escape it as \\uXXXX' });
  }
  let value: unknown;
  try {
    value = JSON.parse(header);
  } catch (error) {
    throw fail('request_json_invalid', { why: textOf(error) }, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fail('request_json_invalid', { why: 'it is not an object' });
  }
  return value;
}

/** No variable and no path can hold a NUL; the system calls behind them would refuse it with a text of their own. */
function refuseNul(request: StreamRequest): void {
  const texts: [string, string | undefined][] = [['cwd', request.cwd]];
  for (const [name, value] of Object.entries(request.env ?? {})) texts.push([`env.${name}`, value]);
  for (const [field, value] of texts) {
    if (value?.includes('\0') === true) {
      throw fail('request_field_invalid', { field, why: 'it holds a NUL character' });
    }
  }
}
