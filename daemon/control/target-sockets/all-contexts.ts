// The target sockets of all contexts, each found by its folder.
import { FolderLooks } from '../../base/files/folder-looks.ts';
import { fail } from '../../errors/fail.ts';
import type { UpstreamRow } from '../../api/answers.ts';
import type { SocketCount } from './bound-socket.ts';
import type { ClientStore } from './clients/client-store.ts';
import type { ContextClients } from './clients/clients.ts';
import { ContextSockets } from './context-sockets.ts';
import type { CurrentEngine } from './engine.ts';
import type { ReconcilerOptions } from './reconciler.ts';
import { ContextShellFile, type ShellConfig } from './shell-file.ts';
import { TargetSocket } from './target-socket.ts';

export interface AllContextsOptions extends Pick<
  ReconcilerOptions,
  'version' | 'targets' | 'clock' | 'random' | 'log' | 'event' | 'instance'
> {
  readonly store: ClientStore;
  readonly engines: CurrentEngine;
  readonly count: SocketCount;
}

export class AllContexts {
  readonly #options: AllContextsOptions;
  /** By folder. */
  readonly #contexts = new Map<string, ContextSockets>();
  /** Whether the paths still lead to our sockets. */
  readonly #looks: FolderLooks;
  #made = 0;

  constructor(options: AllContextsOptions) {
    this.#options = options;
    this.#looks = new FolderLooks({
      // A context without target sockets has no folder.
      folders: () =>
        [...this.#contexts].filter(([, { all }]) => [...all].length > 0).map(([parent]) => parent),
      look: () => {
        for (const socket of this.sockets()) void socket.look();
      },
      clock: options.clock,
    });
  }

  *sockets(): Iterable<TargetSocket> {
    for (const context of this.#contexts.values()) yield* context.all;
  }

  /** The target sockets in a folder. The store must know its clients. */
  in(parent: string): ContextSockets {
    const context = this.#contexts.get(parent) ?? this.#make(parent);
    this.#contexts.set(parent, context);
    return context;
  }

  /** True while a request waits for a target socket in this folder. */
  isClaimed(parent: string): boolean {
    return this.#contexts.get(parent)?.isClaimed === true;
  }

  /** Resolves when each context has had a config, and its target sockets were tried. Never rejects. */
  async tried(): Promise<void> {
    await Promise.all([...this.#contexts.values()].map((context) => context.tried));
  }

  /** Called with what the engine knows of its servers. */
  heard(upstreams: readonly UpstreamRow[]): void {
    const warm = upstreams.filter(({ state }) => state === 'warm');
    for (const context of this.#contexts.values())
      context.heard((one) =>
        warm.some(({ address, target }) => address === one.address && target === one.label),
      );
  }

  /** Removes the target sockets in a folder. Never rejects. */
  async forget(parent: string): Promise<void> {
    const context = this.#contexts.get(parent);
    this.#contexts.delete(parent);
    await context?.remove();
  }

  /** Stops making target sockets and resolving targets. Existing target sockets stay. */
  close(): void {
    for (const context of this.#contexts.values()) context.close();
  }

  /** Closes everything but keeps the paths. */
  leave(): void {
    this.#looks.close();
    for (const context of this.#contexts.values()) context.leave();
    this.#contexts.clear();
  }

  /** Removes every target socket. Never rejects. */
  async remove(): Promise<void> {
    this.#looks.close();
    await Promise.all([...this.#contexts.values()].map((context) => context.remove()));
  }

  #make(parent: string): ContextSockets {
    const { targets, log, version, store } = this.#options;
    const clients = (): ContextClients => {
      const found = store.get(parent);
      if (found === undefined) throw fail('stopping');
      return found;
    };
    const view = async (): Promise<ShellConfig> => targets.view(clients().environment);
    const inline = (): string[] => [...(store.get(parent)?.inline.keys() ?? [])];
    const shellFile = new ContextShellFile({ parent, version, view, inline, log });
    const first = store.get(parent)?.environment;
    if (first !== undefined) shellFile.add(first.env);
    return new ContextSockets({
      parent,
      log,
      shellFile,
      configured: async () => new Set((await view()).config.connections.targets.keys()),
      isInline: (target) => store.get(parent)?.inline.has(target) === true,
      inline,
      make: (target) => {
        this.#made += 1;
        return new TargetSocket({
          ...this.#options,
          id: `${parent}|${target}|${this.#made.toString(36)}`,
          target,
          parent,
          resolve: async (signal) => targets.targetSocket(target, clients(), signal),
        });
      },
    });
  }
}
