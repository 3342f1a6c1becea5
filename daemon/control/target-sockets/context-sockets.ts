// The target sockets of one context. Compares those that should exist with those that do, and changes only the difference.
import type { Logger } from '../../base/log.ts';
import { Slices } from '../../base/async/slices.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { asFailure } from '../../errors/fail.ts';
import type { ContextShellFile } from './shell-file.ts';
import type { TargetSocket } from './target-socket.ts';

export interface ContextSocketsOptions {
  /** Folder of the target sockets. */
  readonly parent: string;
  /** Targets that the config names now. Rejects when there is no config. */
  readonly configured: () => Promise<ReadonlySet<string>>;
  /** True for an inline target whose target socket is kept. */
  readonly isInline: (target: string) => boolean;
  readonly inline: () => readonly string[];
  readonly make: (target: string) => TargetSocket;
  readonly shellFile: ContextShellFile;
  readonly log: Logger;
}

/** The progress of one refresh. Neither promise rejects. */
export interface Refreshing {
  /** Resolves when target sockets that the config no longer names are removed, and an update of each configured one was tried. */
  readonly configured: Promise<void>;
  /** The same for all target sockets. Inline targets may take longer, since they may need a lookup at the control plane. */
  readonly all: Promise<void>;
}

export class ContextSockets {
  readonly #options: ContextSocketsOptions;
  /** By target. */
  readonly #sockets = new Map<string, TargetSocket>();
  /** Number of requests that wait for a target socket, by target. */
  readonly #claims = new Map<string, number>();
  /** Removals in progress. None rejects. */
  readonly #removals = new Set<Promise<unknown>>();
  readonly #comparison = new Refresh(() => this.#compare());
  /** Resolves when there has been a config and a socket for each of its targets was tried, or when all are removed. Never rejects. */
  readonly tried: Promise<void>;
  #setTried = (): void => undefined;
  /** Whether there has been a config. */
  #isRead = false;
  #isClosed = false;

  constructor(options: ContextSocketsOptions) {
    this.#options = options;
    this.tried = new Promise((resolve) => {
      this.#setTried = resolve;
    });
  }

  /** What shells read of these target sockets. */
  get shellFile(): ContextShellFile {
    return this.#options.shellFile;
  }

  /** Notes for shells which target sockets lead to a server that answers. */
  heard(answers: (server: { readonly address: string; readonly label: string }) => boolean): void {
    if (this.#isClosed) return;
    const isReady = ({ destination }: TargetSocket): boolean =>
      destination?.link === undefined && destination?.warnings.length === 0 && answers(destination);
    this.#options.shellFile.setReady([...this.#sockets.values()].filter(isReady).map(({ target }) => target));
  }

  get all(): Iterable<TargetSocket> {
    return this.#sockets.values();
  }

  /** True while a request waits for one of the target sockets. */
  get isClaimed(): boolean {
    return this.#claims.size > 0;
  }

  /**
   * Called when config, settings or clients have changed. Makes new target sockets, removes those no longer wanted, and resolves all
   * targets again. Never rejects.
   */
  async refresh(): Promise<Refreshing> {
    await this.#comparison.request();
    if (!this.#isClosed) void this.#options.shellFile.refresh();
    // Thousands of targets must not hold up the requests of others.
    const slices = new Slices();
    const runs: { readonly isConfigured: boolean; readonly run: Promise<void> }[] = [];
    // A copy: sockets come and go during the pauses.
    const sockets = [...this.#sockets.values()];
    for (const socket of sockets) {
      runs.push({ isConfigured: socket.isConfigured, run: socket.refresh() });
      await slices.next();
    }
    const configured = runs.filter(({ isConfigured }) => isConfigured);
    const removals = [...this.#removals];
    const ended = async (which: typeof runs): Promise<void> => {
      await Promise.all([...removals, ...which.map(({ run }) => run)]);
    };
    const refreshing = { configured: ended(configured), all: ended(runs) };
    if (this.#isRead) void refreshing.configured.then(this.#setTried);
    return refreshing;
  }

  /** The target socket of a target, for a request that waits for it. It is not removed before `release`. */
  claim(target: string, isConfigured: boolean): TargetSocket {
    this.#claims.set(target, (this.#claims.get(target) ?? 0) + 1);
    const socket = this.#get(target);
    socket.isConfigured = isConfigured;
    return socket;
  }

  /** Ends one `claim` of the target. */
  release(target: string): void {
    const others = (this.#claims.get(target) ?? 0) - 1;
    if (others > 0) this.#claims.set(target, others);
    else this.#claims.delete(target);
    this.removeUnwanted(target);
  }

  /** Removes the target socket of a target unless it is configured, kept for an inline target, or claimed by a request. */
  removeUnwanted(target: string): void {
    const socket = this.#sockets.get(target);
    if (socket === undefined || this.#isWanted(socket)) return;
    this.#sockets.delete(target);
    const removal = socket.remove().finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** Stops making target sockets and resolving targets. Existing target sockets stay. */
  close(): void {
    this.#isClosed = true;
    for (const socket of this.#sockets.values()) socket.halt();
  }

  /** Does the same, and closes control's handles. An engine may go on accepting until another control has replaced the paths. */
  leave(): void {
    this.close();
    for (const socket of this.#sockets.values()) socket.release();
  }

  /** Removes all target sockets. Never rejects. */
  async remove(): Promise<void> {
    this.#isClosed = true;
    const sockets = [...this.#sockets.values()];
    this.#sockets.clear();
    const { shellFile } = this.#options;
    await Promise.all([...this.#removals, ...sockets.map((socket) => socket.remove()), shellFile.remove()]);
    this.#setTried();
  }

  /** Adds missing and removes unwanted target sockets. Never rejects: without a config, they stay as they are. */
  async #compare(): Promise<void> {
    const { parent, configured, inline, log } = this.#options;
    try {
      const named = await configured();
      if (this.#isClosed) return;
      this.#isRead = true;
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
