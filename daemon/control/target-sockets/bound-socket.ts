// A target socket in the file system: the bound server in its folder, and who notices when somebody replaces it.
import { watch, type FSWatcher } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { fail } from '../../errors/fail.ts';
import { bindWithoutListen } from '../../sockets/bind-without-listen.ts';
import { makeTargetSocketFolder, type TargetSocketFolder } from './folder.ts';

export interface BoundSocketOptions {
  /** Folder of the context's target sockets: `{bmuxd dir}/targets` or `{bmuxd dir}/targets-{context}`. */
  readonly parent: string;
  readonly target: string;
  /** Resolves when an engine listens on `server`, which is bound. */
  readonly listen: (server: Server) => Promise<void>;
  /** Something has changed in the folder. It is called for root only: the mode of the folder holds everybody else back. */
  readonly onChange: () => void;
}

/** Control holds the server and never accepts: the socket lives on while no engine does. */
export class BoundSocket {
  readonly server: Server;
  readonly folder: TargetSocketFolder;
  readonly #watcher: FSWatcher | undefined;

  private constructor(server: Server, folder: TargetSocketFolder, onChange: () => void) {
    this.server = server;
    this.folder = folder;
    this.#watcher = watched(folder, onChange);
  }

  /** The path leads to the new socket as soon as an engine listens on it. When that fails, nothing remains of it. */
  static async make({ parent, target, listen, onChange }: BoundSocketOptions): Promise<BoundSocket> {
    const server = createServer();
    const folder = await makeTargetSocketFolder(parent, target, server, async (_, path) => {
      bindWithoutListen(server, path);
      await listen(server);
    });
    return new BoundSocket(server, folder, onChange);
  }

  /** Closes control's copy of the handle. The folder stays: an engine may still accept there. */
  close(): void {
    this.server.close();
    this.#watcher?.close();
  }
}

/** A bmux of root that starts a server in the folder must find ours again before it has connected. */
function watched({ runtimeDir }: TargetSocketFolder, onChange: () => void): FSWatcher | undefined {
  if (process.getuid?.() !== 0) return undefined;
  try {
    const watcher = watch(runtimeDir, { persistent: false }, onChange);
    watcher.on('error', () => undefined);
    return watcher;
  } catch {
    // The system has no watches to give: the next regular look finds a change.
    return undefined;
  }
}

/** How many target sockets there may be at once: each is a listening socket in both processes. */
export class SocketCount {
  readonly #max: number;
  #count = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes one; the returned function gives it back. Throws `target_sockets_full`. */
  take(): () => void {
    if (this.#count >= this.#max) throw fail('target_sockets_full', { count: this.#count });
    this.#count += 1;
    let taken = true;
    return () => {
      if (taken) this.#count -= 1;
      taken = false;
    };
  }
}
