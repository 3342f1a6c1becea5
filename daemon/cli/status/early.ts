// Asks for the status before the rest of the program is loaded, which takes longer than the daemon needs for its answer. It imports little.
import { connect } from 'node:net';
import { pathProblem } from '../../base/files/path-problem.ts';
import { excessOf } from '../../base/files/socket-path.ts';
import { bmuxdPaths, type Env } from '../../base/paths.ts';
import { exchange, requestHead, type ControlAnswer, type Exchange } from './exchange.ts';

/** What `bmuxd status` and `bmuxd status --json` ask. */
const PATH = '/v1/status';
/** ms after which the rest of the program is loaded while the daemon has not answered. */
const SOON_MS = 100;

let sent: { readonly asked: Exchange; readonly socketPath: string } | undefined;

/**
 * Sends the request when the command is the status alone. Resolves when it is sent, or cannot be: the command then does all again, and says
 * why. A Unix socket takes a connection at once or not at all, so this needs no time limit.
 */
export async function askEarly(
  [, , command, option, ...more]: readonly string[],
  env: Env,
): Promise<Exchange | undefined> {
  if (command !== 'status' || more.length > 0 || (option !== undefined && option !== '--json'))
    return undefined;
  const socketPath = trusted(env);
  if (socketPath === undefined) return undefined;
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  const asked = exchange(socket, requestHead('GET', PATH));
  // Whoever takes the exchange meets its failure, which may come before.
  asked.answer.catch(() => undefined);
  sent = { asked, socketPath };
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve).once('error', () => {
      resolve();
    });
  });
  return asked;
}

/** The answer, when it comes soon. The exchange can still be taken. */
export async function soonAnswer({ answer }: Exchange, ms = SOON_MS): Promise<ControlAnswer | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  try {
    return await Promise.race([answer, late]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** Gives the request away that was sent early, to the first who would send the same. */
export function takeSent(socketPath: string, method: string, path: string): Exchange | undefined {
  const mine = sent;
  if (mine?.socketPath !== socketPath || method !== 'GET' || path !== PATH) return undefined;
  sent = undefined;
  return mine.asked;
}

/** The path of the control socket, when no other user can be behind it. */
function trusted(env: Env): string | undefined {
  const me = process.getuid?.();
  try {
    const { controlSocket } = bmuxdPaths(env);
    const isFit = me !== undefined && excessOf(controlSocket) === undefined;
    return isFit && pathProblem(controlSocket, me) === undefined ? controlSocket : undefined;
  } catch {
    return undefined;
  }
}
