// Sends one request of a command to the daemon, with a time limit, and turns errors of the connection into failures with a remedy.
import { errnoOf, Failure, isNobody, isOutOfFiles, textOf } from '../base/failure.ts';
import { isAnswering } from '../../client-shim/probe.ts';
import { inTime } from '../base/async/deadline.ts';
import { bmuxdPaths, type Env } from '../base/paths.ts';
import { asFailure, fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import { failureIn } from '../errors/problem.ts';
import { noAnswerOn, lostBy } from '../api/instance-file.ts';
import { StartWait } from '../../client-shim/patience.ts';
import { object, text, type Shape } from '../api/shape.ts';
import { packageVersion } from '../base/version.ts';
import { VERSION_HEADER } from '../api/header.ts';
import { controlRequest, NoAnswer, type ControlQuestion } from './control-request.ts';
import type { ControlAnswer } from './status/exchange.ts';
import { hearVersion, otherVersion } from './daemon-version.ts';

/** Asks for the status now: that a daemon starts is an answer, too. */
export const STATUS_NOW: ControlQuestion = {
  method: 'GET',
  path: '/v1/status',
  timeoutMs: LIMITS.statusMs,
  awaitsStart: false,
};

/** Codes of a request that the daemon does not know. */
const UNKNOWN: ReadonlySet<string> = new Set(['request_field_invalid', 'route_unknown']);

/**
 * Resolves with the JSON body of a 2xx answer, after `shape` has accepted it. Rejects with `daemon_not_running`, `daemon_not_answering`,
 * `daemon_start_late`, `daemon_lost`, `version_mismatch`, or the failure that the daemon sent.
 */
export async function askControl<T>(env: Env, question: ControlQuestion, shape: Shape<T>): Promise<T> {
  const socketPath = bmuxdPaths(env).controlSocket;
  const exchange = controlRequest(socketPath, question);
  let answer;
  try {
    answer = await answerOf(exchange.answer, socketPath, question.awaitsStart ?? true);
  } catch (error) {
    // The request would keep the process waiting for its own time limit.
    exchange.end();
    throw unasked(error, socketPath);
  }
  const { status, body } = answer;
  hearVersion(answer.headers[VERSION_HEADER]);
  if (status < 200 || status >= 300) throw refused(body, status, socketPath);
  if (!shape(body)) throw await otherForm(body, socketPath);
  return body;
}

/** The failure for a 2xx answer that does not have the form that this version knows. It names the version of the daemon if that is known. */
export async function otherForm(body: unknown, socket: string): Promise<Failure> {
  const version = versionIn(body) ?? versionIn(await healthOf(socket));
  return fail('version_mismatch', {
    own: `bmuxd ${packageVersion()}`,
    other: version === undefined ? 'a bmuxd of another version' : `bmuxd ${version}`,
  });
}

/** The answer to a health request; undefined when there is none. */
async function healthOf(socketPath: string): Promise<unknown> {
  const question = { method: 'GET', path: '/v1/health', timeoutMs: LIMITS.healthMs } as const;
  return controlRequest(socketPath, question).answer.then(
    ({ body }) => body,
    () => undefined,
  );
}

const VERSIONED = object<{ version: string }>({ version: text });

function versionIn(body: unknown): string | undefined {
  return VERSIONED(body) ? body.version : undefined;
}

/**
 * Waits for `answer`. If none comes in `LIMITS.silenceMs`, a health request on a second connection decides whether to wait on. A daemon that
 * starts is waited for.
 */
async function answerOf(
  answer: Promise<ControlAnswer>,
  socketPath: string,
  awaitsStart: boolean,
): Promise<ControlAnswer> {
  const silent = new NoAnswer(LIMITS.silenceMs);
  try {
    return await inTime(answer, LIMITS.silenceMs, () => silent);
  } catch (error) {
    if (error !== silent) throw error;
    if (!(awaitsStart && new StartWait(socketPath).goesOn()) && !(await isAnswering(socketPath))) throw error;
    return answer;
  }
}

/** The failure for an error of the request itself. */
export function unasked(error: unknown, socket: string): Failure {
  if (error instanceof Failure || isOutOfFiles(error)) return asFailure(error);
  const errno = errnoOf(error);
  if (isNobody(error)) return fail('daemon_not_running', { socket }, error);
  if (errno === 'EACCES' || errno === 'EPERM') return fail('control_socket_denied', { socket }, error);
  // EAGAIN: the queue of connections is full, because a process listens but does not accept.
  if (error instanceof NoAnswer || errno === 'EAGAIN') return noAnswerOn(socket, error);
  // The daemon was killed before it answered.
  if (errno === 'ECONNRESET' || errno === 'EPIPE') return lostBy(socket, error);
  return fail('daemon_foreign', { socket, why: textOf(error) }, error);
}

/** The failure in an answer whose status is not 2xx. A daemon of another version may not know the request at all. */
export function refused(body: unknown, status: number, socket: string): Failure {
  const problem = failureIn(body, status);
  const other = otherVersion();
  if (problem !== undefined && other !== undefined && UNKNOWN.has(problem.code)) {
    const versions = { own: `bmuxd ${packageVersion()}`, other: `bmuxd ${other}` };
    return fail('version_mismatch', versions, new Error(problem.detail));
  }
  if (problem !== undefined) return new Failure(problem);
  return fail('daemon_foreign', { socket, why: `it answers with status ${String(status)}` });
}
