// The file `instance.json` beside the sockets of a daemon: which process it is, for clients to which it does not answer.
import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Failure } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import { descriptorLimit } from '../base/process/descriptors.ts';
import { ageOf, isRunning, type ProcessIdentity } from '../base/process/identity.ts';
import { advised, fail } from '../errors/fail.ts';
import { list, number, object, optional, text, truth } from './shape.ts';

/** ms after the start of a daemon in which it may not answer yet: on a machine with too much work that takes seconds. */
const YOUNG_MS = 5000;
/** ms after which a daemon that works has renewed the time of its file, at the latest. */
export const RENEWED_MS = 20_000;

/** Without any stream, control and an engine need 24 to 30 each. */
const FEW_FILES = 64;
const RAISE_FILES = 'Raise that limit to 1024 or more, and start bmuxd again.';

export interface InstanceFile extends ProcessIdentity {
  /** Paths of the sockets on which it answers. */
  readonly sockets: readonly string[];
  /** It ends its streams and then itself, and answers no more. */
  readonly stopping?: boolean;
}

const IDENTITY = { pid: number, start: optional(text), namespace: optional(text) };
export const isIdentity = object<ProcessIdentity>(IDENTITY);
const isInstanceFile = object<InstanceFile>({
  ...IDENTITY,
  sockets: list(text),
  stopping: optional(truth),
});

/** Path of the file for a socket. */
export function instanceFileOf(socket: string): string {
  return join(dirname(socket), 'instance.json');
}

/** The control process of `socket`; undefined when it is not known, or in another pid namespace. */
export function pidOf(socket: string): number | undefined {
  const found = fileBeside(socket);
  return found !== undefined && isRunning(found) === true ? found.pid : undefined;
}

/** The daemon that the file beside `socket` names in place of `former`; undefined when there is none, or when it has ended. */
export function otherThan(former: ProcessIdentity, socket: string): ProcessIdentity | undefined {
  const found = fileBeside(socket);
  if (found === undefined || isRunning(found) === false) return undefined;
  // Without /proc only the id is known.
  const { pid, start = found.start, namespace = found.namespace } = former;
  return found.pid === pid && found.start === start && found.namespace === namespace ? undefined : found;
}

/**
 * Whether no daemon of `socket` is known to run. A socket that takes connections is then held by a service manager, which starts the daemon for
 * them (docs/service.md).
 */
export function isAwaited(socket: string): boolean {
  // Whatever sockets the file names: a client may know the same one by another path.
  const found = fileBeside(socket);
  return found === undefined || isRunning(found) === false;
}

/** Whether the daemon of `socket` was started a short while ago, so that it may not answer yet. */
export function isYoung(socket: string): boolean {
  const found = fileBeside(socket);
  return found !== undefined && ageOf(found) < YOUNG_MS;
}

/** The failure for a `socket` that takes a connection and answers nothing: `daemon_start_late` when its daemon does not run yet, else as below. */
export function noAnswerOn(socket: string, cause?: unknown): Failure {
  return isAwaited(socket) ? fail('daemon_start_late', { socket }, cause) : notAnswering(socket, cause);
}

/** `daemon_not_answering` for the daemon of `socket`. Names its process and when it last worked, if they are known. */
export function notAnswering(socket: string, cause?: unknown): Failure {
  const known = instanceOf(socket);
  const values =
    known === undefined
      ? { who: '', since: '', pid: 'PID' }
      : { who: ` with pid ${String(known.pid)}`, since: ` since ${known.aliveAt}`, pid: known.pid };
  return fail('daemon_not_answering', { socket, ...values }, cause);
}

/** `daemon_lost` for the daemon of `socket`, which has closed a connection without an answer. Node does so at once where it has too few descriptors. */
export function lostBy(socket: string, cause?: unknown): Failure {
  const pid = pidOf(socket);
  const limit = pid === undefined ? Infinity : descriptorLimit(pid);
  const why = `bmuxd and its engines may open only ${String(limit)} files each (ulimit -n); they need more`;
  if (limit >= FEW_FILES) return fail('daemon_lost', {}, cause);
  return advised(fail('daemon_lost', {}, new Error(why)), RAISE_FILES);
}

/** Whether the daemon of `socket` is stopping; its sockets are gone then. */
export function isStopping(socket: string): boolean {
  const found = read(socket);
  return found?.stopping === true && isRunning(found) !== false;
}

/**
 * Whether the daemon of `socket` has ended a short while ago without removing its file: it was killed, and its supervisor may be about to start
 * it again.
 */
export function wasKilled(socket: string): boolean {
  const found = read(socket);
  if (found === undefined || found.stopping === true) return false;
  try {
    // A time in the future is one of before the clock was set back.
    return Math.abs(Date.now() - statSync(instanceFileOf(socket)).mtimeMs) < RENEWED_MS + LIMITS.awayMs;
  } catch {
    return false;
  }
}

function read(socket: string): InstanceFile | undefined {
  const found = fileBeside(socket);
  return found?.sockets.includes(socket) === true ? found : undefined;
}

function fileBeside(socket: string): InstanceFile | undefined {
  try {
    const found: unknown = JSON.parse(readFileSync(instanceFileOf(socket), 'utf8'));
    return isInstanceFile(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** The daemon of `socket`. A working daemon renews the time of its file every few seconds. */
function instanceOf(socket: string): { readonly pid: number; readonly aliveAt: string } | undefined {
  const found = read(socket);
  if (found === undefined || isRunning(found) !== true) return undefined;
  try {
    return { pid: found.pid, aliveAt: statSync(instanceFileOf(socket)).mtime.toISOString() };
  } catch {
    return undefined;
  }
}
