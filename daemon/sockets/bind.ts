// Binding a Unix socket so that an older server can never remove a newer one's: a private name, renamed into place.
import { lstat, rename, unlink } from 'node:fs/promises';
import type { Server as HttpServer } from 'node:http';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';

/** Longest socket path, bytes: sun_path less its final zero (unix(7): 108 on Linux, 104 on macOS). Node cuts a longer one silently. */
export function maxSocketPath(platform: NodeJS.Platform = process.platform): number {
  return platform === 'linux' ? 107 : 103;
}

/** A socket that was bound at a path. */
export interface Bound {
  /** False when somebody has removed it, or put something else in its place. */
  readonly isThere: () => Promise<boolean>;
  /** Removes the socket again if it is still ours. */
  readonly unbind: () => Promise<void>;
}

/** Accepts for `server`, which may listen elsewhere: a server of HTTP has one listening socket only. */
export function forwardTo(server: HttpServer): Server {
  const forwarder = createServer({ allowHalfOpen: true }, (socket) => server.emit('connection', socket));
  forwarder.maxConnections = server.maxConnections;
  return forwarder;
}

/** Longest name that `bindSocket` makes in a folder for a while. */
export const PRIVATE_NAME = '.4194304.abcdef';

/** A name under which a socket is bound before it is renamed into place. */
export function privateName(): string {
  return `.${String(process.pid)}.${Math.random().toString(36).slice(2, 8)}`;
}

/** Listens on `path`, replacing whatever is there. */
export async function bindSocket(server: Server, path: string): Promise<Bound> {
  const private_ = join(dirname(path), privateName());
  for (const name of [path, private_]) {
    const length = Buffer.byteLength(name);
    if (length > maxSocketPath())
      throw fail('socket_path_too_long', { path: name, length, limit: maxSocketPath() });
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(private_, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { ino, dev } = await lstat(private_, { bigint: true });
  try {
    await rename(private_, path);
  } catch (error) {
    // Nobody would reach it; closing it removes the private name.
    server.close();
    throw error;
  }
  const isThere = async (): Promise<boolean> => {
    const now = await lstat(path, { bigint: true }).catch(() => undefined);
    return now?.ino === ino && now.dev === dev;
  };
  const unbind = async (): Promise<void> => {
    try {
      if (await isThere()) await unlink(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  };
  return { isThere, unbind };
}

/** True when somebody accepts connections on `path`. A socket file without a listener is stale. */
export function isListening(path: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (listening: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(listening);
    };
    // No answer to a connect is a full backlog: somebody is there.
    const timer = setTimeout(() => {
      done(true);
    }, timeoutMs);
    socket.once('connect', () => {
      done(true);
    });
    socket.once('error', (error) => {
      done(errnoOf(error) === 'EAGAIN');
    });
  });
}
