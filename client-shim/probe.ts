// Tells what a socket does not say of itself: whether a daemon is stuck or busy with a long dial, and whether a stream has ended or was lost.
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../daemon/base/failure.ts';
import { bmuxdPaths, type Env } from '../daemon/base/paths.ts';
import type { StreamEnd } from '../daemon/api/answers.ts';
import { LIMITS } from '../daemon/base/limits.ts';
import { endIn, fieldsIn, readAnswer } from './answer.ts';

/** What a health question got: the fields of the answer, nobody there, or no answer within `LIMITS.healthMs`. */
type Health = Readonly<Record<string, unknown>> | 'nobody' | 'silent';

/** Whether anything is answered, to a second question if not to the first: on a busy machine one answer may be late. */
export async function isAnswering(socketPath: string): Promise<boolean> {
  return (await health(socketPath)) !== 'silent' || (await health(socketPath)) !== 'silent';
}

/** Tells a long dial from a process that does not answer, for one request. */
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
   * `replaced`: another engine accepts now, which was not there when the request was accepted; the one that has the request hangs or is gone.
   * `silent`: neither the engine nor control answers.
   */
  async look(): Promise<'alive' | 'replaced' | 'silent'> {
    const engine = await health(this.#streamsSocket);
    if (engine === 'silent') return (await isAnswering(this.#controlSocket)) ? 'alive' : 'silent';
    // The request's own connection will hear of it.
    if (engine === 'nobody') return 'alive';
    const { generation, sinceMs } = engine;
    const before = this.#generation ?? generation;
    this.#generation = generation;
    const isLater = typeof sinceMs === 'number' && sinceMs > this.#askedAt;
    return isLater || generation !== before ? 'replaced' : 'alive';
  }
}

/** Whether somebody accepts connections there. */
export async function accepts(socketPath: string): Promise<boolean> {
  return (await health(socketPath)) !== 'nobody';
}

function health(socketPath: string): Promise<Health> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    let bytes: Buffer = Buffer.alloc(0);
    const done = (answer: Health): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => {
      done('silent');
    }, LIMITS.healthMs);
    socket.on('connect', () => {
      socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const answer = readAnswer(bytes);
      if (answer?.complete === true) done(fieldsIn(answer));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // EAGAIN: its queue of connections is full, since it accepts none; it has as long to do so as any other.
      if (error.code !== 'EAGAIN') done('nobody');
    });
    socket.on('end', () => {
      done({});
    });
  });
}

/** ms between two looks at an engine that is just going. */
const AGAIN_MS = 2;

/**
 * Why the stream broke, if its end was none of the server's: on a Unix socket both look the same. An engine that has died leaves a socket that
 * refuses connections; one that left properly has removed its own; any other one says it. Undefined when nothing can be known.
 */
export async function whyLost(streamId: string, env: Env): Promise<string | undefined> {
  const name = `${streamId.slice(0, streamId.lastIndexOf('-'))}.sock`;
  const { controlSocket, enginesDir } = bmuxdPaths(env);
  // Somebody who knows the daemon by its socket alone may have another dir.
  const folders = new Set([join(dirname(controlSocket), basename(enginesDir)), enginesDir]);
  for (const folder of folders) {
    const { lost } = await askedUntilItSays(join(folder, name), streamId);
    if (lost !== undefined) return lost;
  }
  return undefined;
}

async function askedUntilItSays(path: string, streamId: string): Promise<Pick<StreamEnd, 'lost'>> {
  let end = await askForEnd(path, streamId);
  for (let waited = 0; end === undefined && waited < LIMITS.endAskedMs; waited += AGAIN_MS) {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    end = await askForEnd(path, streamId);
  }
  return end ?? {};
}

/** Undefined when the engine accepted and closed without a word: it is just going. */
function askForEnd(path: string, streamId: string): Promise<Pick<StreamEnd, 'lost'> | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
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
