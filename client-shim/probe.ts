// Asks on another connection whether the daemon is stuck or busy with a long dial, and whether a stream has ended or was lost.
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../daemon/base/failure.ts';
import { bmuxdPaths, type Env } from '../daemon/base/paths.ts';
import type { StreamEnd } from '../daemon/api/answers.ts';
import { LIMITS } from '../daemon/base/limits.ts';
import { sleep } from '../daemon/base/async/sleep.ts';
import { endIn, fieldsIn, readAnswer } from './answer.ts';
import { connectTo } from './control-socket.ts';

/** Result of a health request: the fields of the answer, `nobody` without a connection, `silent` without an answer in `LIMITS.healthMs`. */
type Health = Readonly<Record<string, unknown>> | 'nobody' | 'silent';

/** Whether the first or a second health request is answered: on a busy machine one answer may be late. */
export async function isAnswering(socketPath: string): Promise<boolean> {
  return (await health(socketPath)) !== 'silent' || (await health(socketPath)) !== 'silent';
}

/** Distinguishes a long dial from a process that does not answer, for one request. */
export class Liveness {
  readonly #streamsSocket: string;
  readonly #controlSocket: string;
  /** Date.now() of the request. */
  readonly #askedAt = Date.now();
  #generation: unknown;

  constructor(streamsSocket: string, controlSocket: string) {
    this.#streamsSocket = streamsSocket;
    this.#controlSocket = controlSocket;
  }

  /**
   * `replaced`: an engine accepts now that started after the request; the engine that took the request hangs or is gone.
   * `silent`: neither the engine nor control answers.
   */
  async look(): Promise<'alive' | 'replaced' | 'silent'> {
    const engine = await health(this.#streamsSocket);
    if (engine === 'silent') return (await isAnswering(this.#controlSocket)) ? 'alive' : 'silent';
    // The request's own connection will get an error.
    if (engine === 'nobody') return 'alive';
    const { generation, sinceMs } = engine;
    const before = this.#generation ?? generation;
    this.#generation = generation;
    const isLater = typeof sinceMs === 'number' && sinceMs > this.#askedAt;
    return isLater || generation !== before ? 'replaced' : 'alive';
  }
}

/** Whether a process accepts connections on this socket. */
export async function accepts(socketPath: string): Promise<boolean> {
  return (await health(socketPath)) !== 'nobody';
}

function health(socketPath: string): Promise<Health> {
  return new Promise((resolve) => {
    const socket = connectTo(socketPath);
    let bytes: Buffer = Buffer.alloc(0);
    const done = (answer: Health): void => {
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
      socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const answer = readAnswer(bytes);
      if (answer?.complete === true) done(fieldsIn(answer));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A process that exits may reset the connection; until then it was there.
      if (connected) done({});
      // EAGAIN: the queue of connections is full, since the process accepts none; the timeout decides, as for any other.
      else if (error.code !== 'EAGAIN') done('nobody');
    });
    socket.on('end', () => {
      done({});
    });
  });
}

/** ms between two requests to an engine that is exiting. */
const AGAIN_MS = 2;

/**
 * Why the stream broke; undefined when it ended normally or nothing is known. On a Unix socket a break and an end look the same, so the engine is
 * asked. The socket of an engine that died refuses connections; an engine that exited properly has removed its socket.
 */
export async function whyLost(streamId: string, env: Env): Promise<string | undefined> {
  const name = `${streamId.slice(0, streamId.lastIndexOf('-'))}.sock`;
  const { controlSocket, enginesDir } = bmuxdPaths(env);
  // A client that has only the path of the control socket may have another runtime dir.
  const folders = new Set([join(dirname(controlSocket), basename(enginesDir)), enginesDir]);
  for (const folder of folders) {
    const { lost } = await pollForEnd(join(folder, name), streamId);
    if (lost !== undefined) return lost;
  }
  return undefined;
}

async function pollForEnd(path: string, streamId: string): Promise<Pick<StreamEnd, 'lost'>> {
  let end = await askForEnd(path, streamId);
  for (let waited = 0; end === undefined && waited < LIMITS.endAskedMs; waited += AGAIN_MS) {
    await sleep(AGAIN_MS);
    end = await askForEnd(path, streamId);
  }
  return end ?? {};
}

/** Undefined when the engine accepted and closed without an answer, because it is exiting. */
function askForEnd(path: string, streamId: string): Promise<Pick<StreamEnd, 'lost'> | undefined> {
  return new Promise((resolve) => {
    const socket = connectTo(path);
    let bytes: Buffer = Buffer.alloc(0);
    let connected = false;
    const done = (end: Pick<StreamEnd, 'lost'> | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(end);
    };
    const timer = setTimeout(() => {
      done({});
    }, LIMITS.endAskedMs);
    socket.on('connect', () => {
      connected = true;
      socket.write(`GET /v1/streams/${streamId}/end HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const answer = readAnswer(bytes);
      if (answer?.complete === true) done(endIn(answer));
    });
    socket.on('end', () => {
      done(undefined);
    });
    socket.on('error', (error) => {
      done(connected ? undefined : errnoOf(error) === 'ECONNREFUSED' ? { lost: 'its engine has died' } : {});
    });
  });
}
