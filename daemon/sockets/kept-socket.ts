// A socket file that is kept in its place: cleaners of temp folders remove it, and nobody could connect any more.
import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';
import { SingleFlight } from '../base/async/single-flight.ts';
import { bindSocket, forwardTo, type Bound } from './bind.ts';

/** ms between two looks: a few of them between two looks of control at an engine. */
const LOOK_MS = 500;

export interface KeptSocketOptions {
  /** Serves what comes on the socket. */
  readonly server: HttpServer;
  readonly path: string;
  /** The server itself listens there at first. An HTTP server listens once: else, and later, another one forwards to it. */
  readonly direct: boolean;
  /** Called at every look, before it. */
  readonly onLook?: () => Promise<void>;
  /** Called when the path does not lead here any more. Whether the socket is bound again is up to it. */
  readonly whenGone: (bindAgain: () => Promise<void>) => Promise<void>;
  /** A look that failed; the next one comes all the same. */
  readonly onError: (error: unknown) => void;
}

/** Lifecycle: bound -> (gone -> bound again)* -> closed. */
export class KeptSocket {
  readonly #options: KeptSocketOptions;
  readonly #looks = new SingleFlight<'look', void>();
  #bound: Bound | undefined;
  #forwarder: Server | undefined;
  #binding: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(options: KeptSocketOptions) {
    this.#options = options;
  }

  /** Binds, replacing whatever is at the path. Rejects as `bindSocket` does. */
  static async bind(options: KeptSocketOptions): Promise<KeptSocket> {
    const kept = new KeptSocket(options);
    if (options.direct) kept.#bound = await bindSocket(options.server, options.path);
    else await kept.#bindForwarder();
    kept.#timer = setInterval(() => void kept.look(), LOOK_MS);
    kept.#timer.unref();
    return kept;
  }

  /** False when the path leads elsewhere, or nowhere. */
  async isThere(): Promise<boolean> {
    return !this.#closed && (await this.#bound?.isThere()) === true;
  }

  /** Looks now. Never rejects. */
  look(): Promise<void> {
    return this.#looks.run('look', () =>
      this.#look().catch((error: unknown) => {
        if (!this.#closed) this.#options.onError(error);
      }),
    );
  }

  /** Looks no more, and changes nothing at the path. */
  giveUp(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  /** Removes the socket if it is still ours. The server is its owner's to close. Safe to call twice. */
  async close(): Promise<void> {
    this.giveUp();
    // A bind that is under way would leave its file.
    await this.#binding?.catch(() => undefined);
    await this.#bound?.unbind();
    this.#bound = undefined;
    this.#forwarder?.close();
    this.#forwarder = undefined;
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
    this.#forwarder?.close();
    this.#forwarder = forwarder;
  }
}
