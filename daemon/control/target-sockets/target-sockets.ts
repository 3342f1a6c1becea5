// Target sockets, control's side: which there are, where they are, and who accepts on them. Control keeps them and never accepts.
import { watch, type FSWatcher } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { Logger } from '../../base/log.ts';
import { sleep } from '../../base/async/sleep.ts';
import { bindWithoutListen } from '../../sockets/bind-without-listen.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import type { EngineLink } from '../engines/engine-link.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import type { Destination, Principal } from '../../engine-protocol/plan.ts';
import { clearFolders, removeFolders, makeTargetSocketFolder, type TargetSocketFolder } from './folder.ts';

/** What a target socket is for. */
export interface TargetSocketSpec {
  /** The target as a person names it. */
  readonly target: string;
  /** Folder of the context's target sockets: `{bmuxd dir}/targets` or `{bmuxd dir}/targets-{context}`. */
  readonly parent: string;
  /** Made anew at each change of config. */
  readonly destination: Destination;
  /** Of the context: for what the engine asks the server by itself. */
  readonly principal: Principal;
  /** When the making of the plan began, among those of its target socket: an older one never replaces a newer one, however late it is ready. */
  readonly order: number;
}

interface TargetSocket {
  readonly id: string;
  readonly target: string;
  readonly parent: string;
  readonly server: Server;
  readonly folder: TargetSocketFolder;
  /** Of the folder; only where it does not hold the user back. */
  readonly watcher: FSWatcher | undefined;
  destination: Destination;
  principal: Principal;
  order: number;
}

export interface TargetSocketsOptions {
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** False when the dir is another daemon's by now: its target sockets are not ours to take back. */
  readonly mayTakeBack: () => Promise<boolean>;
}

/** ms between two looks whether the paths are still ours. */
const LOOK_MS = 500;
/** ms between two looks whether there is an engine. */
const LISTENING_MS = 5;
/** Target sockets at once: a listening socket each, in both processes. */
const MAX_TARGET_SOCKETS = 512;

export class TargetSockets {
  readonly #options: TargetSocketsOptions;
  readonly #targetSockets = new Map<string, TargetSocket>();
  readonly #timer: NodeJS.Timeout;
  #engine: EngineLink | undefined;
  /** Changes of target sockets follow each other. */
  #last: Promise<void> = Promise.resolve();
  #looking = false;
  #closed = false;

  constructor(options: TargetSocketsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      void this.#look();
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** Makes the target socket, or renews its plan; resolves with where it is, when the engine accepts there. */
  async ensure(spec: TargetSocketSpec): Promise<TargetSocketFolder> {
    return this.#inTurn(async () => {
      const id = idOf(spec);
      const known = this.#targetSockets.get(id);
      if (known !== undefined) {
        this.#renew(known, spec);
        return known.folder;
      }
      if (this.#targetSockets.size >= MAX_TARGET_SOCKETS)
        throw fail('target_sockets_full', { count: this.#targetSockets.size });
      return (await this.#open(id, spec)).folder;
    });
  }

  /** The same for a target socket that is there; without `made` the engine, which waits for an answer, is told the plan that it has. */
  async renew(
    id: string,
    made?: Pick<TargetSocketSpec, 'destination' | 'principal' | 'order'>,
  ): Promise<void> {
    await this.#inTurn(() => {
      const known = this.#targetSockets.get(id);
      if (known !== undefined) this.#renew(known, made ?? known);
      return Promise.resolve();
    });
  }

  /** Removes the target sockets of a context's folder whose targets are not in `keep`. */
  async retain(parent: string, keep: ReadonlySet<string>): Promise<void> {
    await this.#inTurn(() => this.#retain(parent, keep));
  }

  /** Removes all target sockets of a context's folder, and what else is left there. */
  async clear(parent: string): Promise<void> {
    await this.#inTurn(async () => {
      await this.#retain(parent, new Set());
      await clearFolders(parent);
    });
  }

  /** Removes a folder of target sockets that has none, if `isOver` still says that it will have none. */
  async forget(parent: string, isOver: () => boolean): Promise<void> {
    await this.#inTurn(async () => {
      if (isOver()) await removeFolders(parent);
    });
  }

  async #retain(parent: string, keep: ReadonlySet<string>): Promise<void> {
    for (const targetSocket of this.#targetSockets.values()) {
      if (targetSocket.parent === parent && !keep.has(targetSocket.target)) await this.#remove(targetSocket);
    }
  }

  /** What the target socket is for that an engine speaks of. */
  find(id: string): TargetSocketSpec | undefined {
    return this.#targetSockets.get(id);
  }

  /** A new engine is ready: it accepts on every target socket from now on. */
  attach(engine: EngineLink): void {
    this.#engine = engine;
    for (const targetSocket of this.#targetSockets.values()) this.#listenSoon(targetSocket);
  }

  /** The engine is gone: who connects until the next one is ready waits in the kernel's queue. */
  detach(engine: EngineLink): void {
    if (this.#engine === engine) this.#engine = undefined;
  }

  /** Lets go of everything but the paths: the engine goes on accepting until a new control has taken them over. */
  leave(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const targetSocket of this.#targetSockets.values()) close(targetSocket);
    this.#targetSockets.clear();
  }

  /** Takes every target socket away. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#inTurn(async () => {
      for (const targetSocket of this.#targetSockets.values()) await this.#remove(targetSocket);
    });
    this.leave();
  }

  #renew(
    targetSocket: TargetSocket,
    { destination, principal, order }: Pick<TargetSocketSpec, 'destination' | 'principal' | 'order'>,
  ): void {
    if (order >= targetSocket.order) {
      targetSocket.destination = destination;
      targetSocket.principal = principal;
      targetSocket.order = order;
    }
    this.#engine?.update(targetSocket.id, targetSocket);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.then(
      () => undefined,
      () => undefined,
    );
    return turn;
  }

  async #open(id: string, spec: TargetSocketSpec): Promise<TargetSocket> {
    const { target, parent, destination, principal, order } = spec;
    const server = createServer();
    let told: EngineLink | undefined;
    const folder = await makeTargetSocketFolder(parent, target, server, async (_, path) => {
      bindWithoutListen(server, path);
      told = await this.#heard({ id, destination, principal, server }).catch((error: unknown) => {
        // It has the socket, and may come to it later.
        this.#engine?.tell({ type: 'close target socket', targetSocket: id });
        throw error;
      });
    });
    this.#warnOf(target, folder.setAside);
    const targetSocket = {
      id,
      target,
      parent,
      destination,
      principal,
      order,
      server,
      folder,
      watcher: this.#watch(folder),
    };
    this.#targetSockets.set(id, targetSocket);
    // An engine that came meanwhile was told of the target sockets that there were.
    if (this.#engine !== told) this.#listenSoon(targetSocket);
    return targetSocket;
  }

  #warnOf(target: string, setAside: string | undefined): void {
    if (setAside === undefined) return;
    this.#options.log.warn(
      { target, path: setAside },
      'what somebody else has put in the place of the target socket is kept; a server in it is reached with this path as BMUX_RUNTIME_DIR',
    );
  }

  /** Root is not held back by a folder's mode: a bmux that starts a server there must find ours again before it has connected. */
  #watch({ runtimeDir }: TargetSocketFolder): FSWatcher | undefined {
    if (process.getuid?.() !== 0) return undefined;
    try {
      const watcher = watch(runtimeDir, { persistent: false }, () => void this.#look());
      watcher.on('error', ignore);
      return watcher;
    } catch {
      // No watches are left: the next look finds it out.
      return undefined;
    }
  }

  /** Resolves with the engine that listens: nobody is to find a path that refuses. Waits for an engine as long as there is none. */
  async #heard(
    targetSocket: Pick<TargetSocket, 'id' | 'destination' | 'principal' | 'server'>,
  ): Promise<EngineLink> {
    for (;;) {
      if (this.#closed) throw fail('stopping');
      const engine = this.#engine;
      if (engine === undefined) {
        await sleep(LISTENING_MS);
        continue;
      }
      try {
        await this.#listen(engine, targetSocket);
        return engine;
      } catch (error) {
        // Another engine may have come meanwhile.
        if (this.#engine === engine) throw error;
      }
    }
  }

  #listen(
    engine: EngineLink,
    { id, destination, principal, server }: Pick<TargetSocket, 'id' | 'destination' | 'principal' | 'server'>,
  ): Promise<void> {
    return engine.listen({ kind: 'target', targetSocket: id, destination, principal }, server);
  }

  async #remove(targetSocket: TargetSocket): Promise<void> {
    this.#targetSockets.delete(targetSocket.id);
    await this.#removeFolder(targetSocket);
    close(targetSocket);
    this.#engine?.tell({ type: 'close target socket', targetSocket: targetSocket.id });
  }

  /** Never rejects: what cannot be removed must not keep the other target sockets, or the end of the daemon. */
  async #removeFolder({ target, folder }: TargetSocket): Promise<void> {
    try {
      this.#warnOf(target, await folder.remove());
    } catch (error) {
      this.#options.log.warn({ target, err: asFailure(error).data }, 'removing a target socket');
    }
  }

  /** Makes the engine of now accept on a target socket that it does not know yet. */
  #listenSoon(targetSocket: TargetSocket): void {
    const engine = this.#engine;
    if (engine === undefined) return;
    this.#listen(engine, targetSocket).catch((error: unknown) => {
      if (this.#engine !== engine || this.#closed) return;
      this.#options.log.warn(
        { target: targetSocket.target, err: asFailure(error).data },
        'the engine does not accept on a target socket',
      );
    });
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      for (const targetSocket of this.#targetSockets.values()) {
        if (await targetSocket.folder.isOurs()) continue;
        await this.#inTurn(() => this.#takeBack(targetSocket));
      }
    } catch (error) {
      if (!this.#closed)
        this.#options.log.error({ err: asFailure(error).data }, 'looking after the target sockets');
    } finally {
      this.#looking = false;
    }
  }

  /** Somebody else's socket, or none, is where ours should be: a fresh folder takes the path back. */
  async #takeBack(targetSocket: TargetSocket): Promise<void> {
    if (
      this.#closed ||
      this.#targetSockets.get(targetSocket.id) !== targetSocket ||
      (await targetSocket.folder.isOurs())
    )
      return;
    if (!(await this.#options.mayTakeBack())) return;
    this.#options.log.warn(
      { target: targetSocket.target, path: targetSocket.folder.socketPath },
      'the target socket was replaced by somebody; taking the path back',
    );
    this.#options.event({
      type: 'target socket taken back',
      target: targetSocket.target,
      detail: targetSocket.folder.socketPath,
    });
    await this.#open(targetSocket.id, targetSocket);
    close(targetSocket);
    await this.#removeFolder(targetSocket);
  }
}

function close({ server, watcher }: TargetSocket): void {
  server.close();
  watcher?.close();
}

function idOf({ parent, target }: Pick<TargetSocketSpec, 'parent' | 'target'>): string {
  return `${parent}|${target}`;
}

function ignore(): void {
  // The next look finds it out.
}
