// Keeps the target sockets up to date: one for every configured target of each context with clients, and those of inline targets on request.
// For each context the wanted set is compared with the existing one. Target sockets that have not changed are left alone.
import type { BrokerEvent, TargetSocketAnswer, UpstreamRow } from '../../api/answers.ts';
import { SCHEMA } from '../../api/answers.ts';
import type { CallerEnv, StreamRequest } from '../../api/request.ts';
import type { Random } from '../../base/async/backoff.ts';
import type { Clock } from '../../base/async/clock.ts';
import type { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import { descriptorLimit } from '../../base/process/descriptors.ts';
import { withoutCredentials } from '../../base/redact.ts';
import type { TargetSocketPlan } from '../../engine-protocol/messages.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import type { Instance, Losses } from '../instance/instance.ts';
import { AllContexts } from './all-contexts.ts';
import { SocketCount } from './bound-socket.ts';
import type { ClientFile } from './clients/client-file.ts';
import { ClientStore, type ContextView } from './clients/client-store.ts';
import type { ClientEnvironment, ContextClients } from './clients/clients.ts';
import type { Refreshing } from './context-sockets.ts';
import { CurrentEngine, type TargetSocketEngine } from './engine.ts';
import { clearFolders } from './folder.ts';
import { OldFolders } from './old-folders.ts';
import type { ShellConfig } from './shell-file.ts';

/** What the reconciler needs of config and planning. `ClientPlans` implements it (daemon/control/planning/client-plans.ts). */
export interface Targets {
  environmentOf(request: StreamRequest): ClientEnvironment;
  view(environment: ClientEnvironment): Promise<ContextView & ShellConfig>;
  targetSocket(target: string, clients: ContextClients, signal: AbortSignal): Promise<TargetSocketPlan>;
}

export interface ReconcilerOptions {
  /** The bmuxd dir. */
  readonly dir: string;
  /** Of the daemon. */
  readonly version: string;
  readonly targets: Targets;
  readonly file: ClientFile;
  /** How many contexts may have target sockets at once. */
  readonly maxContexts: () => number;
  /** Environment of the daemon itself. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
  readonly clock: Clock;
  /** Spreads the pauses between attempts. Default: Math.random. */
  readonly random?: Random;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** When another daemon has the bmuxd dir, its target sockets must not be replaced. */
  readonly instance: Pick<Instance, 'isOurs'> & Losses;
}

/** ms after a start at which the folders are swept again. By then the engines of an earlier daemon have closed their sockets. */
const SWEEP_MS = 15_000;
/** Most target sockets of all contexts together. */
const MAX_TARGET_SOCKETS = 512;
/** The same for a process that may open few files: the others are for its clients and files. */
const FILES_SHARE = 1 / 4;

/** Most target sockets of all contexts together where control may open so many files. */
export function mostTargetSockets(files: number): number {
  return files < 2 * MAX_TARGET_SOCKETS ? Math.floor(files * FILES_SHARE) : MAX_TARGET_SOCKETS;
}

export class TargetSocketReconciler {
  readonly #options: ReconcilerOptions;
  readonly #store: ClientStore;
  readonly #engines = new CurrentEngine();
  readonly #count = new SocketCount(mostTargetSockets(descriptorLimit()));
  readonly #oldFolders: OldFolders;
  readonly #contexts: AllContexts;
  #cancelSweep: (() => void) | undefined;
  #isClosed = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    const { dir, file, own, targets } = options;
    this.#store = new ClientStore({ dir, file, own, view: (environment) => targets.view(environment) });
    this.#oldFolders = new OldFolders(options);
    this.#contexts = new AllContexts({
      ...options,
      store: this.#store,
      engines: this.#engines,
      count: this.#count,
    });
  }

  /** A cause of `degraded`: targets have no socket, because the limit is reached or this machine refuses one. */
  get problem(): Failure | undefined {
    if (this.#count.problem !== undefined) return this.#count.problem;
    const isTold = this.#options.instance.runtimeDir.problem !== undefined;
    return isTold
      ? undefined
      : [...this.#contexts.sockets()].find(({ refusal }) => refusal !== undefined)?.refusal;
  }

  get hasSockets(): boolean {
    return [...this.#contexts.sockets()].length > 0;
  }

  /** Makes the target sockets of the daemon's own context and of the saved ones. Never rejects. */
  async open(): Promise<void> {
    await this.#store.load();
    if (this.#isClosed) return;
    this.#forgetOldest();
    const refreshing = await this.#refreshed(() => true);
    await Promise.all(refreshing.map(({ all }) => all));
    await this.#oldFolders.sweep();
    if (this.#isClosed) return;
    this.#cancelSweep = this.#options.clock.after(SWEEP_MS, () => void this.#oldFolders.sweep());
  }

  /** Resolves when all contexts of `open` have had a config, and their target sockets were tried. Never rejects. */
  tried(): Promise<void> {
    return this.#contexts.tried();
  }

  /** The target socket of one target. It is made if it does not exist. Rejects with the target's failure, or when `signal` aborts. */
  async ensure(request: StreamRequest, signal: AbortSignal): Promise<TargetSocketAnswer> {
    const { targets } = this.#options;
    const target = request.target?.trim() ?? '';
    if (target === '')
      throw fail('request_field_invalid', { field: 'target', why: 'a target socket needs a target' });
    // The daemon may have just started for this request. The saved clients must be loaded before the first save.
    await this.#store.load();
    const environment = targets.environmentOf(request);
    const view = await targets.view(environment);
    signal.throwIfAborted();
    if (this.#isClosed) throw fail('stopping');
    const parent = this.#store.folderOf(environment, view);
    const isKnown = this.#store.get(parent)?.isConfirmed === true;
    const isOther = this.#store.use(parent, environment);
    const context = this.#contexts.in(parent);
    context.shellFile.add(environment.env);
    const isConfigured = view.config.connections.targets.has(target);
    const socket = context.claim(target, isConfigured);
    if (isOther && isKnown) void context.refresh();
    try {
      const { runtimeDir, socketPath } = await socket.get(signal);
      const isFirst = this.#store.confirm(parent);
      if (!isConfigured) {
        const replaced = this.#store.keepInline(parent, target);
        if (replaced !== undefined) context.removeUnwanted(replaced);
      }
      this.#forgetOldest(parent);
      await Promise.all([this.#store.save(), context.shellFile.refresh()]);
      if (isFirst) void context.refresh();
      return { schema: SCHEMA, target: withoutCredentials(target), runtimeDir, socketPath };
    } finally {
      context.release(target);
      if (!context.isClaimed && this.#store.forgetUnconfirmed(parent)) this.#forget(parent);
    }
  }

  /** True when clients with this key for whose environment `agrees` is true have target sockets. Their files must stay watched. */
  isUsed(key: string, agrees: (env: CallerEnv) => boolean): boolean {
    return this.#store.has(key, agrees);
  }

  /** Brings all contexts up to date; with `key` those whose files have changed. Does not wait for inline targets. Never rejects. */
  async refresh(key?: string): Promise<void> {
    const refreshing = await this.#refreshed((clients) => key === undefined || clients.key === key);
    await Promise.all(refreshing.map(({ configured }) => configured));
  }

  /**
   * Resolves the target of a target socket again, because its share link may lead to another host now. Undefined when there is no target
   * socket with this id. Rejects with the failure of the target.
   */
  async resolveAgain(id: string): Promise<Destination | undefined> {
    for (const socket of this.#contexts.sockets()) if (socket.id === id) return socket.resolveAgain();
    return undefined;
  }

  /** Called when an engine is ready. It gets every target socket and accepts on all of them. */
  attach(engine: TargetSocketEngine): void {
    this.#engines.attach(engine);
    for (const socket of this.#contexts.sockets()) socket.attached();
  }

  /** Called with what the engine knows of its servers. */
  heard(upstreams: readonly UpstreamRow[]): void {
    this.#contexts.heard(upstreams);
  }

  /** Called when the engine is gone. Until the next one is ready, the kernel queues connections. */
  detach(engine: TargetSocketEngine): void {
    if (this.#engines.detach(engine)) this.heard([]);
  }

  /** Stops making target sockets and resolving targets. Existing target sockets stay. */
  close(): void {
    this.#isClosed = true;
    this.#cancelSweep?.();
    this.#contexts.close();
  }

  /** Closes everything but keeps the paths. An engine goes on accepting there until a new control has replaced them. */
  leave(): void {
    this.close();
    this.#contexts.leave();
  }

  /** Removes every target socket. Never rejects. */
  async removeAll(): Promise<void> {
    this.close();
    await this.#contexts.remove();
  }

  /** Also removes the target sockets of earlier daemons. May be called only when no engine is left. Never rejects. */
  clear(): Promise<void> {
    return this.#oldFolders.clear();
  }

  #refreshed(which: (clients: ContextClients) => boolean): Promise<Refreshing[]> {
    if (this.#isClosed) return Promise.resolve([]);
    const folders = this.#store.folders().filter((folder) => {
      const clients = this.#store.get(folder);
      return clients?.isConfirmed === true && which(clients);
    });
    return Promise.all(folders.map((folder) => this.#contexts.in(folder).refresh()));
  }

  /**
   * Removes the target sockets of the least recently used contexts beyond `maxContexts`. Those of the daemon's own context, of `latest`,
   * and of contexts with a waiting request stay.
   */
  #forgetOldest(latest?: string): void {
    const stays = (folder: string): boolean => folder === latest || this.#contexts.isClaimed(folder);
    for (const parent of this.#store.forgetOldest(this.#options.maxContexts(), stays)) this.#forget(parent);
  }

  #forget(parent: string): void {
    const isUsed = (folder: string): boolean => this.#store.get(folder) !== undefined;
    void (async () => {
      try {
        await this.#contexts.forget(parent);
        await clearFolders(parent);
        await this.#oldFolders.removeOldest(isUsed);
      } catch (error) {
        this.#options.log.warn({ parent, err: asFailure(error).data }, 'removing target sockets');
      }
    })();
  }
}
