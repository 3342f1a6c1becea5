// The socket for stream requests, control's side: bound and kept here, accepted by the engine (docs/decisions/streams-socket.md).
import { lstat, rename, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { Refresh } from '../../base/async/single-flight.ts';
import { textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { maxSocketPath, privateName } from '../../sockets/bind.ts';
import { bindWithoutListen, openWithoutListen } from '../../sockets/bind-without-listen.ts';
import type { EngineLink } from './engine-link.ts';

export interface StreamsSocketOptions {
  readonly path: string;
  /** Descriptor of a listening socket that a service manager has passed; it looks after the path. */
  readonly fd: number | undefined;
  /** False when the folder is another daemon's by now: its socket is not to be replaced. */
  readonly isOurs: () => Promise<boolean>;
  readonly log: Logger;
}

/** ms between two looks whether the path still leads to our socket. */
const LOOK_MS = 500;

interface Bound {
  readonly server: Server;
  /** Under which name it was bound; undefined once it has its path. */
  privatePath: string | undefined;
  readonly ino: bigint;
  readonly dev: bigint;
}

/** bound without a listener -> an engine listens -> at its path -> (bound again when the path vanishes) -> closed. */
export class StreamsSocket {
  readonly #options: StreamsSocketOptions;
  readonly #update: Refresh;
  #bound: Bound | undefined;
  #passed: Server | undefined;
  #engine: EngineLink | undefined;
  /** The engine that listens on the socket of now. */
  #listener: EngineLink | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: StreamsSocketOptions) {
    this.#options = options;
    this.#update = new Refresh(() => this.#bringUp());
  }

  /** Takes the descriptor that was passed, and begins to look after the path. Throws `activation_invalid`. */
  open(): void {
    const { fd, path } = this.#options;
    const length = Buffer.byteLength(path);
    if (length > maxSocketPath())
      throw fail('socket_path_too_long', { path, length, limit: maxSocketPath() });
    if (fd !== undefined) {
      this.#passed = createServer();
      try {
        openWithoutListen(this.#passed, fd);
      } catch (error) {
        throw fail('activation_invalid', { why: textOf(error) }, error);
      }
    }
    this.#timer = setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
  }

  /** True when an engine accepts at the path. */
  get isAccepted(): boolean {
    return this.#listener !== undefined && this.#bound?.privatePath === undefined;
  }

  /** A new engine is ready: it accepts from now on. */
  attach(engine: EngineLink): void {
    this.#engine = engine;
    void this.#refresh();
  }

  /** The engine is gone: who connects until the next one is ready waits in the kernel's queue. */
  detach(engine: EngineLink): void {
    if (this.#engine === engine) this.#engine = undefined;
    if (this.#listener === engine) this.#listener = undefined;
  }

  /** Binds again what has vanished. Never rejects. */
  look(): Promise<void> {
    return this.#refresh();
  }

  /** Removes the path, if it is ours: nobody finds this daemon any more. Requests that the engine has accepted are answered. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#update.request().catch(() => undefined);
    const bound = this.#bound;
    this.#bound = undefined;
    if (bound !== undefined) {
      if (await this.#isThere(bound))
        await unlink(bound.privatePath ?? this.#options.path).catch(() => undefined);
      bound.server.close();
    }
    this.#passed?.close();
  }

  #refresh(): Promise<void> {
    return this.#update.request().catch((error: unknown) => {
      if (!this.#closed)
        this.#options.log.warn({ err: asFailure(error).data }, 'the socket for stream requests');
    });
  }

  async #bringUp(): Promise<void> {
    const { path, log, isOurs } = this.#options;
    const engine = this.#engine;
    if (this.#closed || engine === undefined) return;
    if (this.#passed !== undefined) {
      if (this.#listener === engine) return;
      await engine.listen({ kind: 'streams' }, this.#passed);
      this.#accepted(engine);
      return;
    }
    let bound = this.#bound;
    if (bound !== undefined && !(await this.#isThere(bound))) {
      // Whoever has the folder now has a socket of its own there.
      if (!(await isOurs())) return;
      log.warn({ socket: path }, 'the socket is gone; it is bound again');
      bound.server.close();
      bound = undefined;
      this.#listener = undefined;
    }
    bound ??= await this.#bind();
    this.#bound = bound;
    if (this.#listener !== engine) {
      await engine.listen({ kind: 'streams' }, bound.server);
      // Only now: a socket on which nobody listens refuses connections.
      if (bound.privatePath !== undefined && !this.#closed) {
        await rename(bound.privatePath, path);
        bound.privatePath = undefined;
      }
      this.#accepted(engine);
    }
  }

  #accepted(engine: EngineLink): void {
    if (this.#engine !== engine) return;
    this.#listener = engine;
    const { log, path } = this.#options;
    log.info({ socket: path, generation: engine.generation }, 'streams are accepted');
  }

  async #bind(): Promise<Bound> {
    const privatePath = join(dirname(this.#options.path), privateName());
    const server = createServer();
    bindWithoutListen(server, privatePath);
    const { ino, dev } = await lstat(privatePath, { bigint: true });
    return { server, privatePath, ino, dev };
  }

  async #isThere({ privatePath, ino, dev }: Bound): Promise<boolean> {
    const now = await lstat(privatePath ?? this.#options.path, { bigint: true }).catch(() => undefined);
    return now?.ino === ino && now.dev === dev;
  }
}
