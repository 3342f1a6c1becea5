// Asks on another connection whether the daemon is stuck or busy with a long dial, and whether a stream has ended or was lost.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf, type Failure } from '../daemon/base/failure.ts';
import { bmuxdPaths, ENGINES, keptEndsBeside, type Env } from '../daemon/base/paths.ts';
import { SCHEMA, type StreamEnd } from '../daemon/api/answers.ts';
import { socketProblem } from '../daemon/api/socket-path.ts';
import { keptEnd } from '../daemon/api/stream-end.ts';
import { LIMITS } from '../daemon/base/limits.ts';
import { pidOf } from '../daemon/api/instance-file.ts';
import { answersInTurn } from '../daemon/base/process/starved.ts';
import { monotonicMs } from '../daemon/base/async/monotonic.ts';
import { sleep } from '../daemon/base/async/sleep.ts';
import { askUntilBack } from '../daemon/base/async/until-back.ts';
import { endIn, fieldsIn, refusalIn } from './answer.ts';
import { readAnswer, type AnswerHead } from './answer-head.ts';
import { connectTo } from './control-socket.ts';

/** Result of a health request: the fields of the answer, `nobody` without a connection, `silent` without an answer in `LIMITS.healthMs`. */
type HealthResult = Readonly<Record<string, unknown>> | 'nobody' | 'silent';

/** Whether a health request is answered: the first, the second, or a later one while the process gets no CPU. */
export function isAnswering(socketPath: string): Promise<boolean> {
  return answersInTurn(pidOf(socketPath), async () => (await health(socketPath)) !== 'silent');
}

/** Distinguishes a long dial from a process that does not answer, for one request. */
export class DaemonCheck {
  readonly #streamsSocket: string;
  readonly #controlSocket: string;
  /** Date.now() of the request. */
  readonly #askedAt = Date.now();
  #generation: unknown;
  /** monotonicMs() since which the engine does not answer although control does. */
  #stuckAt: number | undefined;

  constructor(streamsSocket: string, controlSocket: string) {
    this.#streamsSocket = streamsSocket;
    this.#controlSocket = controlSocket;
  }

  /**
   * `replaced`: an engine accepts now that started after the request; the engine that took the request hangs or is gone.
   * `stuck`: the engine does not answer, and control does, which replaces it. `silent`: neither of them answers.
   * A failure: control cannot replace it, and says why.
   */
  async look(): Promise<'alive' | 'replaced' | 'stuck' | 'silent' | Failure> {
    const engine = await health(this.#streamsSocket);
    if (engine === 'silent') return (await isAnswering(this.#controlSocket)) ? this.#stuck() : 'silent';
    this.#stuckAt = undefined;
    // The request's own connection will get an error.
    if (engine === 'nobody') return 'alive';
    const { generation, sinceMs } = engine;
    const before = this.#generation ?? generation;
    this.#generation = generation;
    const isLater = typeof sinceMs === 'number' && sinceMs > this.#askedAt;
    return isLater || generation !== before ? 'replaced' : 'alive';
  }

  async #stuck(): Promise<'stuck' | Failure> {
    const at = monotonicMs();
    this.#stuckAt ??= at;
    const isLate = at - this.#stuckAt > LIMITS.engineStartMs;
    return (isLate ? await whyNotReady(this.#controlSocket) : undefined) ?? 'stuck';
  }
}

/** Whether a process accepts connections on this socket. */
export async function accepts(socketPath: string): Promise<boolean> {
  return (await health(socketPath)) !== 'nobody';
}

/** Engines that are asked, the latest first. */
const MAX_ASKED = 8;

/** Whether an engine of this daemon runs: it may outlive its control process, which comes back with a restart. */
export async function hasEngine(controlSocket: string): Promise<boolean> {
  const folder = join(dirname(controlSocket), ENGINES);
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.sock'));
  } catch {
    return false;
  }
  const latest = names.sort().slice(-MAX_ASKED);
  return (await Promise.all(latest.map((name) => accepts(join(folder, name))))).includes(true);
}

/** Why the daemon accepts no streams, as it says itself; undefined when it accepts them, or says nothing. */
export async function whyNotReady(controlSocket: string): Promise<Failure | undefined> {
  const answer = await ask(controlSocket, '/v1/health/ready');
  if (typeof answer === 'string' || answer.status !== 503) return undefined;
  const failure = refusalIn(answer, controlSocket);
  return failure.code === 'daemon_foreign' ? undefined : failure;
}

async function health(socketPath: string): Promise<HealthResult> {
  const answer = await ask(socketPath, '/v1/health');
  if (answer === 'closed') return {};
  return typeof answer === 'string' ? answer : fieldsIn(answer);
}

function ask(socketPath: string, path: string): Promise<AnswerHead | 'closed' | 'nobody' | 'silent'> {
  return new Promise((resolve) => {
    const socket = connectTo(socketPath);
    let bytes: Buffer = Buffer.alloc(0);
    const done = (answer: AnswerHead | 'closed' | 'nobody' | 'silent'): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    let connected = false;
    const timer = setTimeout(() => {
      done('silent');
    }, LIMITS.healthMs);
    socket.on('connect', () => {
      connected = true;
      socket.write(`GET ${path} HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const answer = readAnswer(bytes);
      if (answer?.complete === true) done(answer);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A process that exits may reset the connection; until then it was there.
      if (connected) done('closed');
      // EAGAIN: the queue of connections is full, since the process accepts none; the timeout decides, as for any other.
      else if (error.code !== 'EAGAIN') done('nobody');
    });
    socket.on('end', () => {
      done('closed');
    });
  });
}

/** ms between two requests to an engine that is exiting. */
const AGAIN_MS = 2;

/**
 * Why the stream was lost; undefined after a proper end. On a Unix socket every end looks the same, so the engine is asked, then the file that
 * it has left at a proper exit, then control. Without a proof of a proper end the stream is lost (docs/stream-ends.md). When nobody is there to
 * be asked, the runtime dir may have been removed: the daemon makes it and its sockets again.
 */
export async function whyLost(
  streamId: string,
  where: { readonly controlSocket: string; readonly env: Env },
): Promise<string | undefined> {
  const end = await askUntilBack(() => endOf(streamId, where));
  return end === undefined || end.known === false ? UNKNOWN : end.lost;
}

/** Undefined when nobody can be asked. */
async function endOf(
  streamId: string,
  { controlSocket, env }: Parameters<typeof whyLost>[1],
): Promise<StreamEnd | undefined> {
  const { enginesDir } = bmuxdPaths(env);
  const generation = streamId.slice(0, streamId.lastIndexOf('-'));
  // A client that has only the path of the control socket may have another runtime dir.
  for (const folder of new Set([join(dirname(controlSocket), basename(enginesDir)), enginesDir])) {
    const path = join(folder, `${generation}.sock`);
    const end = await pollForEnd(path, streamId);
    const known = typeof end === 'object' ? end : leftBy(path, streamId);
    if (known !== undefined) return known;
    if (end === 'refused') return { schema: SCHEMA, known: true, lost: 'its engine has died' };
  }
  const end = await pollForEnd(controlSocket, streamId);
  return typeof end === 'object' ? end : undefined;
}

const UNKNOWN = 'nothing is known of its end';

/** What the engine has left when it exited; undefined when there is no file. */
function leftBy(engineSocket: string, streamId: string): StreamEnd | undefined {
  const path = keptEndsBeside(engineSocket);
  if (socketProblem(path) !== undefined) return undefined;
  try {
    return keptEnd(readFileSync(path, 'utf8'), streamId);
  } catch {
    return undefined;
  }
}

/** An answer, or why there is none: `refused` by a socket on which nobody listens, `gone` without a socket. */
type Reply = StreamEnd | 'refused' | 'gone';

async function pollForEnd(path: string, streamId: string): Promise<Reply> {
  let end = await askForEnd(path, streamId);
  for (let waited = 0; end === 'again' && waited < LIMITS.endAskedMs; waited += AGAIN_MS) {
    await sleep(AGAIN_MS);
    end = await askForEnd(path, streamId);
  }
  return end === 'again' ? 'gone' : end;
}

/** `again` when the process accepted and closed without an answer, because it is exiting. */
function askForEnd(path: string, streamId: string): Promise<Reply | 'again'> {
  return new Promise((resolve) => {
    const socket = connectTo(path);
    let bytes: Buffer = Buffer.alloc(0);
    let connected = false;
    const done = (end: Reply | 'again'): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(end);
    };
    const timer = setTimeout(() => {
      done({ schema: SCHEMA, known: true, lost: 'its engine does not answer' });
    }, LIMITS.endAnsweredMs);
    socket.on('connect', () => {
      connected = true;
      socket.write(`GET /v1/streams/${streamId}/end HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const answer = readAnswer(bytes);
      if (answer?.complete === true) done(endIn(answer) ?? 'gone');
    });
    socket.on('end', () => {
      done('again');
    });
    socket.on('error', (error) => {
      if (connected || errnoOf(error) === 'EAGAIN') done('again');
      else done(errnoOf(error) === 'ECONNREFUSED' ? 'refused' : 'gone');
    });
  });
}
