// auth-state.json: the token with which the control plane is asked. Never logged, never in a text.
import { errnoOf } from '../base/failure.ts';
import { readBounded, strictUtf8 } from '../base/files/read-bounded.ts';
import { fail } from '../errors/fail.ts';

/**
 * The access token in the file at `path`; undefined when there is no file. A file that is there and not understood is an error,
 * `auth_state_unparsable`, not "not signed in"; one that cannot be read is `file_unreadable`.
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
  // No cause: the parser's own text quotes the file, and the token with it.
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
