// Checks that no other user can be behind a socket of the daemon, before anything is sent to it or a socket is bound beside it.
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { excessOf } from '../base/files/socket-path.ts';
import { pathProblem } from '../base/files/path-problem.ts';
import type { Failure } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';

/**
 * Why nothing may be sent to the socket at `path`; undefined when only this user or root can have made it, and its path fits. A missing socket gives the error
 * of a connect, code ENOENT: another user could make it between this check and a connect.
 */
export function socketProblem(path: string): Error | undefined {
  const excess = excessOf(path);
  if (excess !== undefined) return fail('socket_path_too_long', excess);
  try {
    return insecurePath(resolve(path));
  } catch (error) {
    return error instanceof Error && 'code' in error
      ? Object.assign(new Error(`connect ${String(error.code)} ${path}`), { code: error.code })
      : fail('file_unreadable', { path }, error);
  }
}

/** The failure for an absolute path that another user can replace; undefined when there is none. Throws the system's error. */
function insecurePath(path: string): Failure | undefined {
  const me = process.getuid?.();
  const problem = me === undefined ? undefined : pathProblem(path, me);
  return problem === undefined ? undefined : fail('path_insecure', { part: problem.path, why: problem.why });
}

/** Throws the failure for a folder that is to be made in one of another user: under sudo the user could not use what root makes there. */
export function refuseForeign(folder: string): void {
  let there = resolve(folder);
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  refuseInsecure(there);
}

/** Throws the failure for a folder that another user can replace. */
export function refuseInsecure(folder: string): void {
  const failure = insecurePath(folder);
  if (failure !== undefined) throw failure;
}
