// The socket for stream requests, control's side. Control binds and keeps it, and the engine accepts on it (docs/decisions/streams-socket.md).
import { lstat, rename, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { Refresh } from '../../base/async/single-flight.ts';
import { textOf } from '../../base/failure.ts';
import { FolderLooks } from '../../base/files/folder-looks.ts';
import { excessOf } from '../../base/files/socket-path.ts';
import type { Logger } from '../../base/log.ts';
import { refuseInsecure } from '../../api/socket-path.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { bindWithoutListen, leadsTo, openWithoutListen, privateName } from '../../sockets/bind.ts';
import type { KeptRuntimeDir } from '../instance/kept-runtime-dir.ts';
import type { EngineLink } from './engine-link.ts';

export interface StreamsSocketOptions {
  readonly path: string;
  /** Descriptor of a listening socket from a service manager, which then owns the path. */
  readonly fd: number | undefined;
  /** False when another daemon has taken over the folder. Then its socket must not be replaced. */
  readonly isOurs: () => Promise<boolean>;
  readonly runtimeDir: Pick<KeptRuntimeDir, 'lossLevel'>;
  /** Called when an engine accepts at the path. */
  readonly onAccepted: () => void;
  readonly log: Logger;
}

interface Bound {
  readonly server: Server;
  /** The path at which it was bound; undefined after the rename to the public path. */
  privatePath: string | undefined;
  readonly ino: bigint;
  readonly dev: bigint;
}

/**
 * The states of the socket: bound without listening -> an engine listens -> renamed to its path -> closed. It is bound again when its path
 * no longer leads to it.
 */
export class StreamsSocket {
  readonly #options: StreamsSocketOptions;
  readonly #update: Refresh;
  #bound: Bound | undefined;
  #passed: Server | undefined;
  #engine: EngineLink | undefined;
  /** The engine that listens on the present socket. */
  #listener: EngineLink | undefined;
  #checks: FolderLooks | undefined;
  #closed = false;

  constructor(options: StreamsSocketOptions) {
    this.#options = options;
    this.#update = new Refresh(() => this.#bringUp());
  }

  /** Opens the passed descriptor, if any, and starts the regular check. Throws `activation_invalid` or `socket_path_too_long`. */
  open(): void {
    const { fd, path } = this.#options;
    const excess = excessOf(path);
    if (excess !== undefined) throw fail('socket_path_too_long', excess);
    if (fd !== undefined) {
      this.#passed = createServer();
      try {
        openWithoutListen(this.#passed, fd);
      } catch (error) {
        throw fail('activation_invalid', { why: textOf(error) }, error);
      }
    }
    this.#checks = new FolderLooks({ folders: () => [dirname(path)], look: () => void this.look() });
  }

  /** True when an engine accepts at the path. */
  get isAccepted(): boolean {
    return this.#listener !== undefined && this.#bound?.privatePath === undefined;
  }

  /** Called when an engine is ready. It accepts from now on. */
  attach(engine: EngineLink): void {
    this.#engine = engine;
    void this.#refresh();
  }

  /** Called when the engine is gone. Until the next one is ready, the kernel queues connections. */
  detach(engine: EngineLink): void {
    if (this.#engine === engine) this.#engine = undefined;
    if (this.#listener === engine) this.#listener = undefined;
  }

  /** Checks that the path leads to our socket, and binds it again when it does not. Never rejects. */
  look(): Promise<void> {
    return this.#refresh();
  }

  /**
   * Closes control's handle. The path stays while an engine accepts there: requests wait in it for the next control process, which replaces the
   * path.
   */
  leave(): Promise<void> {
    return this.#end(true);
  }

  /** Removes the path if it leads to our socket, and closes the socket. Requests that the engine has accepted are still answered. */
  close(): Promise<void> {
    return this.#end(false);
  }

  async #end(keepsPath: boolean): Promise<void> {
    this.#closed = true;
    this.#checks?.close();
    await this.#update.request().catch(() => undefined);
    const stays = keepsPath && this.isAccepted;
    const bound = this.#bound;
    this.#bound = undefined;
    if (bound !== undefined) {
      if (!stays) await this.#remove(bound);
      bound.server.close();
    }
    this.#passed?.close();
  }

  async #remove(bound: Bound): Promise<void> {
    // Another daemon that has taken over may be about to rename its socket to this path.
    if (this.#isThere(bound) && (bound.privatePath !== undefined || (await this.#options.isOurs())))
      await unlink(bound.privatePath ?? this.#options.path).catch(() => undefined);
  }

  #refresh(): Promise<void> {
    return this.#update.request().catch((error: unknown) => {
      if (!this.#closed)
        this.#options.log.warn({ err: asFailure(error).data }, 'the socket for stream requests');
    });
  }

  async #bringUp(): Promise<void> {
    const { path, log, isOurs, runtimeDir } = this.#options;
    const engine = this.#engine;
    if (this.#closed || engine === undefined) return;
    if (this.#passed !== undefined) {
      if (this.#listener === engine) return;
      await engine.listen({ kind: 'streams' }, this.#passed);
      this.#accepted(engine);
      return;
    }
    let bound = this.#bound;
    if (bound !== undefined && !this.#isThere(bound)) {
      // Another daemon has the folder now, and the path leads to its socket. Or the folder is gone.
      if (!(await isOurs())) return;
      log[runtimeDir.lossLevel]({ socket: path }, 'the socket is gone; it is bound again');
      bound.server.close();
      bound = undefined;
      this.#listener = undefined;
    }
    bound ??= await this.#bind();
    this.#bound = bound;
    if (this.#listener !== engine) {
      await engine.listen({ kind: 'streams' }, bound.server);
      // The rename comes after an engine listens, because a bound socket without a listener refuses connections.
      if (bound.privatePath !== undefined && !this.#closed) {
        // Another daemon may have taken over meanwhile.
        if (!(await isOurs())) return;
        await rename(bound.privatePath, path);
        bound.privatePath = undefined;
      }
      this.#accepted(engine);
    }
  }

  #accepted(engine: EngineLink): void {
    if (this.#engine !== engine) return;
    this.#listener = engine;
    const { log, path, onAccepted } = this.#options;
    log.info({ socket: path, generation: engine.generation }, 'streams are accepted');
    onAccepted();
  }

  async #bind(): Promise<Bound> {
    const privatePath = join(dirname(this.#options.path), privateName());
    refuseInsecure(dirname(privatePath));
    const server = createServer();
    bindWithoutListen(server, privatePath);
    const { ino, dev } = await lstat(privatePath, { bigint: true });
    return { server, privatePath, ino, dev };
  }

  #isThere(bound: Bound): boolean {
    return leadsTo(bound.privatePath ?? this.#options.path, bound);
  }
}
