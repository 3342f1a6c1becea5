// Binds a socket again when its file is removed. Cleaners of temp folders remove such files, and no client could connect afterwards.
import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';
import { dirname } from 'node:path';
import { SingleFlight } from '../base/async/single-flight.ts';
import { FolderLooks } from '../base/files/folder-looks.ts';
import { bindSocket, forwardTo, type Bound } from './bind.ts';
import { closeWhenEmpty } from './close-when-empty.ts';

export interface KeptSocketOptions {
  /** Serves the requests on the socket. */
  readonly server: HttpServer;
  readonly path: string;
  /**
   * True: `server` itself listens on the first socket. False, and for later sockets: a second server forwards connections to it, because a
   * server of Node can listen on one socket only.
   */
  readonly direct: boolean;
  /** Called before every check. */
  readonly onLook?: () => Promise<void>;
  /** Called when the path no longer leads to this socket. It decides whether to bind again. */
  readonly whenGone: (bindAgain: () => Promise<void>) => Promise<void>;
  /** Called with the error of a failed check. Checks continue. */
  readonly onError: (error: unknown) => void;
}

/** Lifecycle: bound -> (file removed -> bound again)* -> closed. */
export class KeptSocket {
  readonly #options: KeptSocketOptions;
  readonly #looks = new SingleFlight<'look', void>();
  #bound: Bound | undefined;
  #forwarder: Server | undefined;
  #binding: Promise<void> | undefined;
  #checks: FolderLooks | undefined;
  #closed = false;

  private constructor(options: KeptSocketOptions) {
    this.#options = options;
  }

  /** Binds, replacing any file at the path. Rejects as `bindSocket` does. */
  static async bind(options: KeptSocketOptions): Promise<KeptSocket> {
    const kept = new KeptSocket(options);
    if (options.direct) kept.#bound = await bindSocket(options.server, options.path);
    else await kept.#bindForwarder();
    kept.#checks = new FolderLooks({
      folders: () => [dirname(options.path)],
      look: () => void kept.look(),
    });
    return kept;
  }

  /** True while the path leads to this socket. */
  async isThere(): Promise<boolean> {
    return !this.#closed && (await this.#bound?.isThere()) === true;
  }

  /** Checks now. Never rejects. */
  look(): Promise<void> {
    return this.#looks.run('look', () =>
      this.#look().catch((error: unknown) => {
        if (!this.#closed) this.#options.onError(error);
      }),
    );
  }

  /** Stops checking, and leaves the file at the path as it is. */
  giveUp(): void {
    this.#closed = true;
    this.#checks?.close();
  }

  /** Removes the socket, unless another process has replaced it. The caller closes the server. Safe to call twice. */
  async close(): Promise<void> {
    this.giveUp();
    // A pending bind would make its file after the removal.
    await this.#binding?.catch(() => undefined);
    await this.#bound?.unbind();
    this.#bound = undefined;
    await this.#replaceForwarder(undefined);
  }

  async #look(): Promise<void> {
    const { onLook, whenGone } = this.#options;
    await onLook?.();
    if (this.#closed || (await this.isThere())) return;
    await whenGone(async () => {
      if (this.#closed || (await this.isThere())) return;
      this.#binding = this.#bindForwarder();
      await this.#binding;
    });
  }

  async #bindForwarder(): Promise<void> {
    const { server, path } = this.#options;
    const forwarder = forwardTo(server);
    this.#bound = await bindSocket(forwarder, path);
    void this.#replaceForwarder(forwarder);
  }

  async #replaceForwarder(next: Server | undefined): Promise<void> {
    const former = this.#forwarder;
    this.#forwarder = next;
    if (former !== undefined) await closeWhenEmpty(former);
  }
}
