// Reads the token for the control plane from auth-state.json. The token is never logged and never part of a text.
import { resolve } from 'node:path';
import { errnoOf, Failure } from '../base/failure.ts';
import { fileProblem, isReadByOthers, pathProblem } from '../base/files/path-problem.ts';
import { readBounded, strictUtf8 } from '../base/files/read-bounded.ts';
import { fail } from '../errors/fail.ts';

/** The user's sign-in at the control plane. */
export interface AuthState {
  readonly token: string;
  /** Says that others can read the token, and what to do; empty when they cannot. */
  readonly warnings: readonly string[];
}

/**
 * Reads the access token from the file at `path`; undefined when there is no file. An invalid file fails with `auth_state_unparsable` and does
 * not mean "not signed in". A file that cannot be read fails with `file_unreadable`, one that another user can have made or changed with
 * `auth_state_insecure`.
 */
export async function readAuthState(path: string): Promise<AuthState | undefined> {
  let text: string;
  const warnings: string[] = [];
  try {
    refusePath(path);
    const bytes = await readBounded(path, undefined, (info) => {
      const me = process.getuid?.();
      if (me === undefined) return;
      const why = fileProblem(info, me, process.getegid?.());
      if (why !== undefined) throw fail('auth_state_insecure', { path, part: path, why });
      if (isReadByOthers(resolve(path), info))
        warnings.push(`other users can read the access token in ${path}: run \`chmod 600 ${path}\``);
    });
    text = strictUtf8(bytes);
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fail('file_unreadable', { path }, error);
  }
  const token = tokenIn(text);
  // No cause, because the parser's message quotes the file and with it the token.
  if (token === undefined) throw fail('auth_state_unparsable', { path });
  return { token, warnings };
}

/** Throws when another user can replace the file: its token would show them what this user asks, and its answers could be theirs. */
function refusePath(path: string): void {
  const me = process.getuid?.();
  // bmux makes its folder with the umask, so that the user's own group may change it.
  const problem = me === undefined ? undefined : pathProblem(resolve(path), me, process.getegid?.());
  if (problem !== undefined)
    throw fail('auth_state_insecure', { path, part: problem.path, why: problem.why });
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
