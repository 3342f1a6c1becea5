// Reads the token for the control plane from auth-state.json. The token is never logged and never part of a text.
import { errnoOf } from '../base/failure.ts';
import { readBounded, strictUtf8 } from '../base/files/read-bounded.ts';
import { fail } from '../errors/fail.ts';

/**
 * Returns the access token in the file at `path`; undefined when there is no file. An invalid file fails with `auth_state_unparsable` and does
 * not mean "not signed in". A file that cannot be read fails with `file_unreadable`.
 */
export async function readAccessToken(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = strictUtf8(await readBounded(path));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fail('file_unreadable', { path }, error);
  }
  const token = tokenIn(text);
  // No cause, because the parser's message quotes the file and with it the token.
  if (token === undefined) throw fail('auth_state_unparsable', { path });
  return token;
}

function tokenIn(text: string): string | undefined {
  try {
    const state: unknown = JSON.parse(text);
    if (typeof state !== 'object' || state === null || !('access_token' in state)) return undefined;
    return typeof state.access_token === 'string' ? state.access_token : undefined;
  } catch {
    return undefined;
  }
}
