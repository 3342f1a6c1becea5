// Parses the text of a Bmux-Request header into a checked request. Later code sees only checked fields.
import { Compile } from 'typebox/compile';
import { textOf } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import { MAX_REQUEST_BYTES, RequestSchema, whitelisted, type StreamRequest } from '../api/request.ts';
import { explain } from './explain.ts';

const checker = Compile(RequestSchema);

/**
 * Returns the request of a header: one JSON object, escaped to ASCII (by `asciiJson`), with the fields of `RequestSchema`. `header` is
 * undefined when the request has none. The caller must reject a repeated header. Fails with `request_header_missing`, `request_too_large`,
 * `request_json_invalid` or `request_field_invalid`, which names the first wrong field.
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
  // Node reads headers as Latin-1: unescaped UTF-8 would arrive as other characters, without an error.
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

/** Rejects a NUL, which no variable and no path can contain. The error of a later system call would be less clear. */
function refuseNul(request: StreamRequest): void {
  const texts: [string, string | undefined][] = [['cwd', request.cwd]];
  for (const [name, value] of Object.entries(request.env ?? {})) texts.push([`env.${name}`, value]);
  for (const [field, value] of texts) {
    if (value?.includes('\0') === true) {
      throw fail('request_field_invalid', { field, why: 'it holds a NUL character' });
    }
  }
}
