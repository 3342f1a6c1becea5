// Binds a Unix socket under a private name and renames it into place. Node unlinks the path that it has bound when a server is closed:
// with the final path, an older server would remove the socket of a newer one.
import { lstatSync } from 'node:fs';
import { lstat, rename, unlink } from 'node:fs/promises';
import type { Server as HttpServer } from 'node:http';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, isNobody } from '../base/failure.ts';
import { excessOf } from '../base/files/socket-path.ts';
import { bindHandle } from '../base/node-internals.ts';
import { refuseInsecure } from '../api/socket-path.ts';
import { fail } from '../errors/fail.ts';

/**
 * Connections that the kernel queues for a socket while its process is busy, as a bmux server has it. Further connects fail with EAGAIN. The
 * kernel takes no more than its own limit (net.core.somaxconn).
 */
export const BACKLOG = 4096;

/** A socket that was bound at a path. */
export interface Bound {
  /** False when the socket has been removed or replaced. Never rejects. */
  readonly isThere: () => Promise<boolean>;
  /** Removes the path if it still leads to this socket. */
  readonly unbind: () => Promise<void>;
}

/** A server whose connections are passed to `server`. An HTTP server can listen on one socket only, and this adds another. */
export function forwardTo(server: HttpServer): Server {
  const forwarder = createServer({ allowHalfOpen: true }, (socket) => server.emit('connection', socket));
  forwarder.maxConnections = server.maxConnections;
  return forwarder;
}

/** The longest private name. Used to check whether a path fits. */
export const PRIVATE_NAME = '.4194304.abcdef';

/** A name under which a socket is bound before it is renamed into place. */
export function privateName(): string {
  return `.${String(process.pid)}.${Math.random().toString(36).slice(2, 8)}`;
}

/** Listens on `path`, and replaces what is there. Rejects with `socket_path_too_long`, `path_insecure`, or with the system's error. */
export async function bindSocket(server: Server, path: string): Promise<Bound> {
  const private_ = join(dirname(path), privateName());
  for (const name of [path, private_]) {
    const excess = excessOf(name);
    if (excess !== undefined) throw fail('socket_path_too_long', excess);
  }
  refuseInsecure(dirname(path));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: private_, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { ino, dev } = await lstat(private_, { bigint: true });
  try {
    await rename(private_, path);
  } catch (error) {
    // The socket cannot be reached without its path. Closing the server removes the private name.
    server.close();
    throw error;
  }
  const isThere = (): Promise<boolean> => Promise.resolve(leadsTo(path, { ino, dev }));
  const unbind = async (): Promise<void> => {
    try {
      if (await isThere()) await unlink(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  };
  return { isThere, unbind };
}

/**
 * Binds `server` to `path`, on which another process listens. The binding process keeps the socket open while listening processes are replaced.
 * Connects are refused until a process to which it was sent (`child.send(message, server)`) listens. When that process exits, new connections
 * wait in the kernel's queue for the next one. If this process listened, too, it would accept some of the clients, and they would be lost when
 * it exits.
 */
export function bindWithoutListen(server: Server, path: string): void {
  bindHandle(server, { path });
}

/** The same for a socket of a service manager, which is bound and listening already. */
export function openWithoutListen(server: Server, fd: number): void {
  bindHandle(server, { fd });
}

/**
 * True when `path` is the file with these numbers, as `lstat` gives them. Never throws. Not in a thread: an idle process asks this regularly,
 * of a folder of its own, and a thread costs two wake-ups.
 */
export function leadsTo(path: string, { ino, dev }: { readonly ino: bigint; readonly dev: bigint }): boolean {
  try {
    const now = lstatSync(path, { bigint: true });
    return now.ino === ino && now.dev === dev;
  } catch {
    return false;
  }
}

/**
 * False when it is known that no process listens on `path`: its file may be removed then. True when a connect gets no answer within `timeoutMs`,
 * and when it cannot be tried, since this process has no more descriptors. Never rejects.
 */
export function isListening(path: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (listening: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(listening);
    };
    // A connect without an answer, or EAGAIN, means that the backlog is full, so a process listens.
    const timer = setTimeout(() => {
      done(true);
    }, timeoutMs);
    socket.once('connect', () => {
      done(true);
    });
    socket.once('error', (error) => {
      done(!isNobody(error));
    });
  });
}
