// Tells what a socket does not say of itself: whether a daemon is stuck or busy with a long dial, and whether a stream has ended or its engine died.
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../daemon/base/failure.ts';
import { bmuxdPaths, type Env } from '../daemon/base/paths.ts';
import { LIMITS } from '../daemon/wire/limits.ts';

/**
 * Whether anything is answered within `LIMITS.healthMs`, to a second question if not to the first: on a busy machine one answer may be late.
 * A daemon that is gone counts as answering: the first socket will hear of it.
 */
export async function isAnswering(socketPath: string): Promise<boolean> {
  return (await answers(socketPath)) || answers(socketPath);
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const done = (answering: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answering);
    };
    const timer = setTimeout(() => {
      done(false);
    }, LIMITS.healthMs);
    socket.on('connect', () => {
      socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', () => {
      done(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // EAGAIN: its queue of connections is full, since it accepts none; it has as long to do so as any other.
      if (error.code !== 'EAGAIN') done(true);
    });
    socket.on('end', () => {
      done(true);
    });
  });
}

/** ms between two looks at an engine that is just going. */
const AGAIN_MS = 2;

/**
 * Whether the engine of that stream has died, which closes its streams as a proper end does. It leaves a socket that refuses connections; one
 * that left properly has removed its own. False when nothing can be known.
 */
export async function engineDied(streamId: string, env: Env): Promise<boolean> {
  const name = `${streamId.slice(0, streamId.lastIndexOf('-'))}.sock`;
  const { controlSocket, enginesDir } = bmuxdPaths(env);
  // Somebody who knows the daemon by its socket alone may have another dir.
  const folders = new Set([join(dirname(controlSocket), basename(enginesDir)), enginesDir]);
  for (const folder of folders) if (await hasDied(join(folder, name))) return true;
  return false;
}

/** One that accepts and then closes is just going, killed or not: its socket says in which way when the system has come to that. */
async function hasDied(path: string): Promise<boolean> {
  let dead = await isDead(path);
  for (let waited = 0; dead === undefined && waited < LIMITS.endAskedMs; waited += AGAIN_MS) {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    dead = await isDead(path);
  }
  return dead ?? false;
}

/** Undefined when it accepted and closed without a word. */
function isDead(path: string): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let connected = false;
    const done = (dead: boolean | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(dead);
    };
    const timer = setTimeout(() => {
      done(false);
    }, LIMITS.endAskedMs);
    socket.on('connect', () => {
      connected = true;
      socket.write('HEAD / HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', () => {
      done(false);
    });
    socket.on('end', () => {
      done(undefined);
    });
    socket.on('error', (error) => {
      done(connected ? undefined : errnoOf(error) === 'ECONNREFUSED');
    });
  });
}
