// The client's side of the streams socket: one HTTP upgrade written by hand, because every module that a CLI loads costs time at its start.
import type { Socket } from 'node:net';
import type { StreamInfo, Waiting } from '../daemon/api/answers.ts';
import { Failure, isOutOfFiles } from '../daemon/base/failure.ts';
import { asFailure, fail } from '../daemon/errors/fail.ts';
import { jittered } from '../daemon/base/async/backoff.ts';
import { monotonicMs } from '../daemon/base/async/monotonic.ts';
import { sleep } from '../daemon/base/async/sleep.ts';
import { LIMITS } from '../daemon/base/limits.ts';
import { isAwaited, lostBy, noAnswerOn, wasKilled } from '../daemon/api/instance-file.ts';
import { STREAM_PROTOCOL, WAITING_HEADER } from '../daemon/api/upgrade.ts';
import { infoIn, isInterim, refusalIn, waitingIn } from './answer.ts';
import { readAnswer } from './answer-head.ts';
import { connectTo } from './control-socket.ts';
import { Patience, StartWait } from './patience.ts';
import { accepts, hasEngine, DaemonCheck, whyNotReady } from './probe.ts';

/** Largest answer before a stream, bytes: a Bmux-Stream header with 256 capabilities and warnings stays far below. */
const MAX_ANSWER_BYTES = 256 * 1024;

/** Longest delay of a timer, ms: Node replaces a longer one by 1 ms. */
const LONGEST_MS = 0x7fff_ffff;

export interface StreamQuestion {
  /** Path of the streams socket. */
  readonly socketPath: string;
  /** Path of the control socket, used only when the streams socket is silent or missing. */
  readonly controlSocket: string;
  /** JSON of the request, escaped to ASCII. */
  readonly request: string;
  /** ms for everything, retries included. The daemon's own limits are shorter; this one ends the wait for a daemon that never answers. */
  readonly budgetMs: number;
  readonly signal?: AbortSignal | undefined;
  /** See `OpenStreamOptions`. */
  readonly onWaiting?: ((waiting: Waiting) => void) | undefined;
}

export interface Granted {
  readonly socket: Socket;
  readonly info: StreamInfo;
}

/** No answer came, but a retry may get one, because a process is being replaced. `last`: the error for the user if no retry succeeds. */
class Lost extends Error {
  readonly last: Error;
  /** How long to retry, ms from the first of its kind on. */
  readonly patienceMs: number;
  /** The daemon has ended: at most its engines run. */
  readonly isAway: boolean;

  /** The daemon runs, and its engine does not accept yet. */
  get isStarting(): boolean {
    return this.last instanceof Failure && this.last.code === 'engine_unavailable';
  }

  constructor(last: Error, patienceMs: number = LIMITS.replacedMs, isAway = false) {
    super(last.message);
    this.last = last;
    this.patienceMs = patienceMs;
    this.isAway = isAway;
  }
}

/**
 * Asks for a stream. Resolves with the socket paused, its first bytes unshifted. Rejects with the daemon's own failure, or with
 * `daemon_not_running` (at once; while engines run, or just after the daemon was killed, after `LIMITS.awayMs`), `daemon_not_answering` (about 2.5 s of silence on all sockets), `daemon_start_late` (after
 * `LIMITS.startMs`), `daemon_lost` (after `LIMITS.replacedMs`).
 */
export async function askForStream(question: StreamQuestion): Promise<Granted> {
  const until = monotonicMs() + question.budgetMs;
  let lostAt: number | undefined;
  let isTold = false;
  let last: Error | undefined;
  const patience = new Patience();
  for (;;) {
    try {
      return await once(question, until - monotonicMs(), last);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      const at = monotonicMs();
      lostAt ??= at;
      last = error.last;
      const why = error.last instanceof Failure ? error.last.code : error.last.message;
      if (patience.isOver(why, error.patienceMs, at) || at > until) throw await said(error, question);
      if (error.isAway && !isTold && at - lostAt > LIMITS.waitToldMs) {
        isTold = true;
        question.onWaiting?.({ step: 'restart of bmuxd', sinceMs: Date.now() - Math.round(at - lostAt) });
      }
      await sleep(jittered(LIMITS.retryMs), question.signal);
    }
  }
}

/** The failure for the user. Where the daemon runs and does not accept streams, it says the reason itself. */
async function said({ last, isStarting }: Lost, { controlSocket }: StreamQuestion): Promise<Error> {
  return (isStarting ? await whyNotReady(controlSocket) : undefined) ?? last;
}

/**
 * One attempt. `last`: why there was no answer to an earlier one. That one found a daemon, so that a missing one is worth a retry. When the time
 * ends soon after this attempt began, that reason says more than the end of the time.
 */
function once(question: StreamQuestion, ms: number, last: Error | undefined): Promise<Granted> {
  const { socketPath, controlSocket, request, signal, onWaiting } = question;
  return new Promise((resolve, reject) => {
    const socket = connectTo(socketPath);
    let bytes: Buffer = Buffer.alloc(0);
    let connected = false;
    let over = false;
    const settle = (): void => {
      over = true;
      clearTimeout(silence);
      clearTimeout(budget);
      signal?.removeEventListener('abort', onAbort);
      socket.off('connect', onConnect).off('data', onData).off('end', onEnd).off('error', onError);
    };
    const failed = (error: Error): void => {
      if (over) return;
      settle();
      // A later error of this socket must not end the process.
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => {
      failed(reasonOf(signal));
    };
    const onConnect = (): void => {
      connected = true;
      const news = onWaiting === undefined ? '' : `${WAITING_HEADER}: ?1\r\n`;
      socket.write(
        `POST /v1/streams HTTP/1.1\r\nHost: bmuxd\r\nConnection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\n${news}Bmux-Request: ${request}\r\n\r\n`,
      );
    };
    const onError = (error: NodeJS.ErrnoException): void => {
      // A daemon that exits may reset the connection while its answer is still unread here.
      if (connected) onEnd();
      else notThere(error);
    };
    const notThere = (error: NodeJS.ErrnoException): void => {
      const why = unreachable(socketPath, controlSocket, error, last !== undefined);
      if (!NOBODY.has(error.code)) {
        failed(why);
        return;
      }
      // A daemon that starts opens its control socket before the streams socket. A service manager may hold it even before that.
      accepts(controlSocket)
        .then(async (isThere) => {
          if (isThere) failed(starting(error));
          // The daemon was here, and somebody is about to start it again: engines without it do not stay for long, and its file is new.
          else if ((await hasEngine(controlSocket)) || wasKilled(controlSocket))
            failed(away(controlSocket, error));
          else failed(why);
        })
        .catch(() => undefined);
    };
    const onEnd = (): void => {
      const answer = readAnswer(bytes);
      if (answer === undefined) failed(new Lost(lostBy(controlSocket)));
      else failed(refused(answer));
    };
    const refused = (answer: NonNullable<ReturnType<typeof readAnswer>>): Error => {
      const failure = refusalIn(answer, socketPath);
      return failure.code === 'stopping' ? new Lost(failure) : failure;
    };
    const onData = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      let answer = readAnswer(bytes);
      while (answer !== undefined && isInterim(answer)) {
        const waiting = waitingIn(answer);
        if (waiting !== undefined) onWaiting?.(waiting);
        bytes = answer.rest;
        answer = readAnswer(bytes);
      }
      if (answer !== undefined && answer.status !== 101 && answer.complete) {
        failed(refused(answer));
      } else if (answer?.status === 101) {
        const info = infoIn(answer, socketPath);
        if (info instanceof Failure) {
          failed(info);
          return;
        }
        socket.pause();
        settle();
        if (answer.rest.length > 0) socket.unshift(answer.rest);
        // After an explicit pause, a later `on('data')` would not start the flow. This undoes the pause, and the first reader starts it.
        socket.on('readable', ignore).off('readable', ignore);
        resolve({ socket, info });
      } else if (bytes.length > MAX_ANSWER_BYTES) {
        failed(fail('daemon_foreign', { socket: socketPath, why: 'its answer is too large' }));
      }
    };
    // No answer means a long dial or a stuck process; a second connection finds out which.
    const ask = (): void => {
      liveness.look().then(
        (state) => {
          if (over) return;
          if (state instanceof Failure) failed(state);
          else if (state === 'alive') silence = setTimeout(ask, LIMITS.silenceMs);
          else if (state === 'stuck') silence = setTimeout(ask, LIMITS.stuckAskedMs);
          else if (state === 'replaced') failed(new Lost(fail('engine_stuck', {})));
          else if (start.goesOn()) {
            onWaiting?.({
              step: 'start of bmuxd',
              sinceMs: Date.now() - Math.round(start.waitedMs),
            });
            silence = setTimeout(ask, LIMITS.silenceMs);
          } else failed(noAnswerOn(controlSocket));
        },
        () => undefined,
      );
    };
    const start = new StartWait(controlSocket);
    const liveness = new DaemonCheck(socketPath, controlSocket);
    const budget = setTimeout(
      () => {
        const step = isAwaited(controlSocket) ? 'bmuxd started' : 'bmuxd opened the stream';
        const outOfTime = fail('out_of_time', { ms: Math.round(question.budgetMs), step });
        failed(ms < LIMITS.silenceMs ? (last ?? outOfTime) : outOfTime);
      },
      Math.min(LONGEST_MS, Math.max(1, ms)),
    );
    let silence = setTimeout(ask, LIMITS.silenceMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.on('connect', onConnect).on('data', onData).on('end', onEnd).on('error', onError);
    if (signal?.aborted === true) onAbort();
  });
}

function ignore(): void {
  // Added and removed only to undo an explicit pause.
}

/** Error codes of a connect when no process listens. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ECONNREFUSED']);

/** The daemon runs, but its engine does not accept yet. */
function starting(error: Error): Error {
  return new Lost(fail('engine_unavailable', { why: 'it is starting' }, error), LIMITS.engineStartMs);
}

function away(socket: string, error: Error): Error {
  return new Lost(fail('daemon_not_running', { socket }, error), LIMITS.awayMs, true);
}

/** The failure for the error of a connect. */
function unreachable(
  socket: string,
  controlSocket: string,
  error: NodeJS.ErrnoException,
  again: boolean,
): Error {
  if (error instanceof Failure || isOutOfFiles(error)) return asFailure(error);
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ECONNREFUSED': {
      const failure = fail('daemon_not_running', { socket: controlSocket }, error);
      return again ? new Lost(failure) : failure;
    }
    case 'EAGAIN':
      // The queue of connections is full: too many clients, or a daemon that accepts none.
      return new Lost(noAnswerOn(controlSocket, error));
    case 'ECONNRESET':
      // The daemon was killed between connect and accept.
      return new Lost(lostBy(controlSocket, error));
    case 'EACCES':
    case 'EPERM':
      return fail('control_socket_denied', { socket }, error);
    default:
      return fail('daemon_foreign', { socket, why: error.code ?? error.message }, error);
  }
}

function reasonOf(signal: AbortSignal | undefined): Error {
  return signal?.reason instanceof Error ? signal.reason : new Error('aborted');
}
