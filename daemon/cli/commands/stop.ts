// `bmuxd stop` and `bmuxd reload`: stop the daemon, or make it read its configuration again.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasEngine } from '../../../client-shim/probe.ts';
import { causesToShow, remedyWithCode } from '../../errors/text.ts';
import { bmuxdPaths } from '../../base/paths.ts';
import { Failure } from '../../base/failure.ts';
import { ageOf, isRunning, startedAt, type ProcessIdentity } from '../../base/process/identity.ts';
import { isListening } from '../../sockets/bind.ts';
import { isIdentity, isStopping, notAnswering, otherThan } from '../../api/instance-file.ts';
import { isReloaded } from '../../api/answer-shapes.ts';
import { anything } from '../../api/shape.ts';
import { LIMITS } from '../../base/limits.ts';
import { askControl } from '../ask-control.ts';
import type { Run } from '../command.ts';
import { problemLine } from '../status/render.ts';
import { fail } from '../../errors/fail.ts';
import { lengthOf } from '../option-values.ts';
import { sleep } from '../../base/async/sleep.ts';

/** ms between two checks whether the daemon has exited. */
const LOOK_MS = 20;

const STOPPED = 'bmuxd has stopped\n';
/** ms that the time of a folder and that of the start of a process may be apart. */
const TICKS_MS = 10;

export const stop: Run = async ({ env, out, options }) => {
  const drainMs = lengthOf('stop', 'drain', options['drain']);
  if (drainMs !== undefined && options['now'] === true)
    throw fail('usage', { why: 'bmuxd stop: --now and --drain exclude each other', command: 'bmuxd stop' });
  const { controlSocket: socket, instanceSocket, dir } = bmuxdPaths(env);
  const timeoutMs = LIMITS.engineAnswerMs;
  const until = performance.now() + (drainMs ?? 0) + 2 * LIMITS.stopMs;
  const path = drainMs === undefined ? '/v1/stop' : `/v1/stop?drainMs=${String(drainMs)}`;
  let identity: ProcessIdentity | undefined;
  try {
    // Any form of answer is accepted, because a daemon of another version must be stoppable, too.
    const health = await askControl(env, { method: 'GET', path: '/v1/health', timeoutMs }, anything);
    identity = isIdentity(health) ? health : undefined;
    await askControl(env, { method: 'POST', path, timeoutMs }, anything);
  } catch (error) {
    if (!isGone(error)) throw error;
    // Another command may stop it at the same time: then its sockets are gone before it is.
    while (isStopping(socket)) {
      if (performance.now() > until) throw notAnswering(socket);
      await sleep(LOOK_MS);
    }
    const isEngineLeft = await hasEngine(join(dir, 'control.sock'));
    if (isEngineLeft || !hasChanged(dir)) throw isEngineLeft ? error : unneeded(error, socket);
    out(STOPPED);
    return 0;
  }
  // The process is checked where it can be seen: a socket of a service manager keeps listening, and a connect would start the next daemon.
  const next = (): ProcessIdentity | undefined =>
    identity === undefined ? undefined : otherThan(identity, socket);
  const runs = async (): Promise<boolean> =>
    (identity === undefined ? undefined : isRunning(identity)) ??
    (next() === undefined &&
      (await isListening(existsSync(instanceSocket) ? instanceSocket : socket, LIMITS.engineAnswerMs)));
  let seenAt = performance.now();
  for (let at = seenAt; await runs(); at = performance.now()) {
    seenAt = at;
    if (at > until) throw notAnswering(socket);
    await sleep(LOOK_MS);
  }
  // Where this one was started again after its end, as by a service manager, it has stopped as asked. Another one that was started before that
  // has taken over: with it, streams may go on.
  const other = next();
  if (identity !== undefined && other !== undefined && ageOf(other) > performance.now() - seenAt)
    throw fail('daemon_replaced', { pid: identity.pid, next: other.pid });
  out(STOPPED);
  return 0;
};

function isGone(error: unknown): boolean {
  return error instanceof Failure && GONE.has(error.code);
}

const GONE: ReadonlySet<string> = new Set(['daemon_not_running', 'daemon_lost']);

/** Whether a daemon has removed its files from `dir` since this process was started. */
function hasChanged(dir: string): boolean {
  try {
    return statSync(dir).mtimeMs >= startedAt() - TICKS_MS;
  } catch {
    return false;
  }
}

/** What is told where no daemon and no engine is: nobody has to start one. */
function unneeded(error: unknown, socket: string): unknown {
  const isAway = error instanceof Failure && error.code === 'daemon_not_running';
  return isAway ? fail('nothing_to_stop', { socket }, error.cause) : error;
}

export const reload: Run = async ({ env, out, err }) => {
  const timeoutMs = 10 * LIMITS.engineAnswerMs;
  const { problems } = await askControl(env, { method: 'POST', path: '/v1/reload', timeoutMs }, isReloaded);
  for (const { where, failure } of problems) {
    err(`${problemLine(where, failure)}\n`);
    for (const cause of causesToShow(failure)) err(`  ${cause}\n`);
    err(`  ${remedyWithCode(failure)}\n`);
  }
  if (problems.length === 0) out('reloaded\n');
  return problems.length === 0 ? 0 : 1;
};
