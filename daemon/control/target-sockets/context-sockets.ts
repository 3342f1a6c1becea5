// The target sockets of one context: which there should be against which there are. Only the difference is touched.
import type { Logger } from '../../base/log.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { asFailure } from '../../errors/fail.ts';
import type { TargetSocket } from './target-socket.ts';

export interface ContextSocketsOptions {
  /** Folder of the target sockets. */
  readonly parent: string;
  /** Targets that the config names now. */
  readonly configured: () => Promise<ReadonlySet<string>>;
  /** True for a target outside the config whose target socket is kept. */
  readonly isInline: (target: string) => boolean;
  readonly inline: () => readonly string[];
  readonly make: (target: string) => TargetSocket;
  readonly log: Logger;
}

/** The ends of one refresh. Neither promise rejects. */
export interface Refreshing {
  /** The target sockets that the config names are up to date, or cannot be made just now; those that it no longer names are gone. */
  readonly configured: Promise<void>;
  /** The same for all: a control plane may have to be asked for the others. */
  readonly all: Promise<void>;
}

export class ContextSockets {
  readonly #options: ContextSocketsOptions;
  /** By target. */
  readonly #sockets = new Map<string, TargetSocket>();
  /** Requests that wait for a target socket, by target. */
  readonly #claims = new Map<string, number>();
  /** Removals that are under way. None rejects. */
  readonly #removals = new Set<Promise<unknown>>();
  readonly #comparison = new Refresh(() => this.#compare());
  #isClosed = false;

  constructor(options: ContextSocketsOptions) {
    this.#options = options;
  }

  get all(): Iterable<TargetSocket> {
    return this.#sockets.values();
  }

  /** True while a request waits for one of the target sockets. */
  get isClaimed(): boolean {
    return this.#claims.size > 0;
  }

  /** Config, settings or clients have changed: makes what is new, removes what is gone, and looks all others up again. */
  async refresh(): Promise<Refreshing> {
    await this.#comparison.request();
    const runs = [...this.#sockets.values()].map((socket) => ({
      isConfigured: socket.isConfigured,
      run: socket.refresh(),
    }));
    const configured = runs.filter(({ isConfigured }) => isConfigured);
    const removals = [...this.#removals];
    const ended = async (which: typeof runs): Promise<void> => {
      await Promise.all([...removals, ...which.map(({ run }) => run)]);
    };
    return { configured: ended(configured), all: ended(runs) };
  }

  /** The target socket of a target that a request waits for. It stays until `release`, wanted or not. */
  claim(target: string, isConfigured: boolean): TargetSocket {
    this.#claims.set(target, (this.#claims.get(target) ?? 0) + 1);
    const socket = this.#get(target);
    socket.isConfigured = isConfigured;
    return socket;
  }

  release(target: string): void {
    const others = (this.#claims.get(target) ?? 0) - 1;
    if (others > 0) this.#claims.set(target, others);
    else this.#claims.delete(target);
    this.removeUnwanted(target);
  }

  /** Removes the target socket of a target when neither the config, nor a client, nor a request wants it. */
  removeUnwanted(target: string): void {
    const socket = this.#sockets.get(target);
    if (socket === undefined || this.#isWanted(socket)) return;
    this.#sockets.delete(target);
    const removal = socket.remove().finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** No target socket is made or looked up any more. Those that there are stay. */
  close(): void {
    this.#isClosed = true;
    for (const socket of this.#sockets.values()) socket.halt();
  }

  /** The same; an engine may go on accepting on them, until another control has taken the paths over. */
  leave(): void {
    this.close();
    for (const socket of this.#sockets.values()) socket.release();
  }

  /** Removes all target sockets. Never rejects. */
  async remove(): Promise<void> {
    this.#isClosed = true;
    const sockets = [...this.#sockets.values()];
    this.#sockets.clear();
    await Promise.all([...this.#removals, ...sockets.map((socket) => socket.remove())]);
  }

  /** Never rejects: without a config to compare with, the target sockets stay as they are. */
  async #compare(): Promise<void> {
    const { parent, configured, inline, log } = this.#options;
    try {
      const named = await configured();
      if (this.#isClosed) return;
      for (const target of [...named, ...inline()]) this.#get(target);
      for (const socket of this.#sockets.values()) {
        socket.isConfigured = named.has(socket.target);
        this.removeUnwanted(socket.target);
      }
    } catch (error) {
      log.warn({ parent, err: asFailure(error).data }, 'target sockets stay as they are');
    }
  }

  #get(target: string): TargetSocket {
    const socket = this.#sockets.get(target) ?? this.#options.make(target);
    this.#sockets.set(target, socket);
    return socket;
  }

  #isWanted({ target, isConfigured }: TargetSocket): boolean {
    return isConfigured || this.#claims.has(target) || this.#options.isInline(target);
  }
}
