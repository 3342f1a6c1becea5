// A target socket in the file system: the bound server in its folder, and a watcher that detects when it is replaced.
import { watch, type FSWatcher } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { textOf, type Failure } from '../../base/failure.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { bindWithoutListen } from '../../sockets/bind.ts';
import { makeTargetSocketFolder, type TargetSocketFolder } from './folder.ts';

export interface BoundSocketOptions {
  /** Folder of the context's target sockets: `{bmuxd dir}/targets` or `{bmuxd dir}/targets-{context}`. */
  readonly parent: string;
  readonly target: string;
  /** Called with the bound server. Resolves when an engine listens on it. */
  readonly listen: (server: Server) => Promise<void>;
  /** Whether this daemon still has the runtime dir. */
  readonly isOurs: () => Promise<boolean>;
  /** Called when something in the folder has changed, only when the daemon runs as root: mode 0500 stops every other user. */
  readonly onChange: () => void;
}

/** Control holds the server but never accepts on it. So the socket stays while there is no engine. */
export class BoundSocket {
  readonly server: Server;
  readonly folder: TargetSocketFolder;
  readonly #watcher: FSWatcher | undefined;

  private constructor(server: Server, folder: TargetSocketFolder, onChange: () => void) {
    this.server = server;
    this.folder = folder;
    this.#watcher = watched(folder, onChange);
  }

  /** Makes the socket. Its path leads to it once an engine listens. When that fails, everything is removed and the promise rejects. */
  static async make({ parent, target, listen, isOurs, onChange }: BoundSocketOptions): Promise<BoundSocket> {
    const server = createServer();
    const bindAndListen = async (_: Server, path: string): Promise<void> => {
      bindWithoutListen(server, path);
      await listen(server);
    };
    const made = makeTargetSocketFolder(parent, target, server, bindAndListen, isOurs);
    const folder = await made.catch((error: unknown) => {
      const failure = asFailure(error);
      if (failure.code !== 'internal') throw failure;
      throw fail('runtime_dir_unwritable', { path: parent, why: textOf(error) }, error);
    });
    return new BoundSocket(server, folder, onChange);
  }

  /** Closes control's copy of the handle. The folder stays: an engine may still accept there. */
  close(): void {
    this.server.close();
    this.#watcher?.close();
  }
}

/**
 * Watches the folder when the daemon runs as root, else returns undefined. A bmux of root can replace the socket by a server of its own.
 * The path must lead to our socket again before that bmux connects, so the regular check would be too late.
 */
function watched({ runtimeDir }: TargetSocketFolder, onChange: () => void): FSWatcher | undefined {
  if (process.getuid?.() !== 0) return undefined;
  try {
    const watcher = watch(runtimeDir, { persistent: false }, onChange);
    watcher.on('error', () => undefined);
    return watcher;
  } catch {
    // The system's limit of watches is reached. The regular check finds a change later.
    return undefined;
  }
}

/** Limits how many target sockets exist at once, since each is a listening socket in both processes. */
export class SocketCount {
  readonly #max: number;
  /** Called one at a time, each when there is room again. */
  readonly #waiting = new Set<() => Promise<void>>();
  #count = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get isFull(): boolean {
    return this.#count >= this.#max;
  }

  /** Set while target sockets wait for room. */
  get problem(): Failure | undefined {
    const missing = this.#waiting.size;
    return missing === 0 ? undefined : fail('target_sockets_missing', { missing, max: this.#max });
  }

  /** Counts one more; the returned function counts it off again, once. Throws `target_sockets_full` at the limit. */
  take(): () => void {
    if (this.isFull) throw fail('target_sockets_full', { count: this.#count });
    this.#count += 1;
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      this.#count -= 1;
      this.#callNext();
    };
  }

  /** Calls `retry` once when there is room; the returned function cancels that. `retry` never rejects. */
  whenRoom(retry: () => Promise<void>): () => void {
    this.#waiting.add(retry);
    return () => {
      this.#waiting.delete(retry);
    };
  }

  #callNext(): void {
    const [first] = this.#waiting;
    if (first === undefined || this.isFull) return;
    this.#waiting.delete(first);
    // It may not have used the room.
    void first().then(() => {
      this.#callNext();
    });
  }
}
