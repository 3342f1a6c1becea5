// Target sockets, control's side: which there are, where they are, and who accepts on them. Control keeps them and never accepts.
import { watch, type FSWatcher } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { ChildProcess } from 'node:child_process';
import type { Logger } from '../../base/log.ts';
import { isListening } from '../../sockets/bind.ts';
import { bindUnheard } from '../../sockets/bind-without-listen.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import type { ToEngine } from '../../engine-protocol/messages.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { clearDoors, forgetDoors, makeDoorFolder, type DoorFolder } from './folder.ts';

/** What a door is for. */
export interface DoorSpec {
  /** The target as a person names it. */
  readonly target: string;
  /** Folder of the context's doors: `{bmuxd dir}/targets` or `{bmuxd dir}/targets-{context}`. */
  readonly parent: string;
  /** Made anew at each change of config. */
  readonly plan: Plan;
  /** When the making of the plan began, among those of its door: an older one never replaces a newer one, however late it is ready. */
  readonly order: number;
}

interface Door {
  readonly id: string;
  readonly target: string;
  readonly parent: string;
  readonly server: Server;
  readonly folder: DoorFolder;
  /** Of the folder; only where it does not hold the user back. */
  readonly watcher: FSWatcher | undefined;
  plan: Plan;
  order: number;
}

export interface DoorsOptions {
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** False when the dir is another daemon's by now: its doors are not ours to take back. */
  readonly mayTakeBack: () => Promise<boolean>;
}

/** ms between two looks whether the paths are still ours. */
const LOOK_MS = 500;
/** ms between two looks whether the engine listens on a socket that it was sent. */
const HEARD_MS = 5;
/** Target sockets at once: a listening socket each, in both processes. */
const MAX_DOORS = 512;

export class Doors {
  readonly #options: DoorsOptions;
  readonly #doors = new Map<string, Door>();
  readonly #timer: NodeJS.Timeout;
  #engine: ChildProcess | undefined;
  /** Changes of doors follow each other. */
  #last: Promise<void> = Promise.resolve();
  #looking = false;
  #closed = false;

  constructor(options: DoorsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      void this.#look();
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** Makes the door, or renews its plan; resolves with where it is, when the engine accepts there. */
  async ensure(spec: DoorSpec): Promise<DoorFolder> {
    return this.#inTurn(async () => {
      const id = idOf(spec);
      const known = this.#doors.get(id);
      if (known !== undefined) {
        this.#renew(known, spec);
        return known.folder;
      }
      if (this.#doors.size >= MAX_DOORS) throw fail('doors_full', { count: this.#doors.size });
      return (await this.#open(id, spec)).folder;
    });
  }

  /** The same for a door that is there; without `made` the engine, which waits for an answer, is told the plan that it has. */
  async renew(id: string, made?: Pick<DoorSpec, 'plan' | 'order'>): Promise<void> {
    await this.#inTurn(() => {
      const known = this.#doors.get(id);
      if (known !== undefined) this.#renew(known, made ?? known);
      return Promise.resolve();
    });
  }

  /** Removes the doors of a context's folder whose targets are not in `keep`. */
  async retain(parent: string, keep: ReadonlySet<string>): Promise<void> {
    await this.#inTurn(() => this.#retain(parent, keep));
  }

  /** Removes all doors of a context's folder, and what else is left there. */
  async clear(parent: string): Promise<void> {
    await this.#inTurn(async () => {
      await this.#retain(parent, new Set());
      await clearDoors(parent);
    });
  }

  /** Removes a folder of doors that has none, if `isOver` still says that it will have none. */
  async forget(parent: string, isOver: () => boolean): Promise<void> {
    await this.#inTurn(async () => {
      if (isOver()) await forgetDoors(parent);
    });
  }

  async #retain(parent: string, keep: ReadonlySet<string>): Promise<void> {
    for (const door of this.#doors.values()) {
      if (door.parent === parent && !keep.has(door.target)) await this.#remove(door);
    }
  }

  /** What the door is for that an engine speaks of. */
  find(id: string): DoorSpec | undefined {
    return this.#doors.get(id);
  }

  /** A new engine is ready: it accepts on every door from now on. */
  attach(engine: ChildProcess): void {
    this.#engine = engine;
    for (const door of this.#doors.values()) this.#tell(door, door.server);
  }

  /** The engine is gone: who connects until the next one is ready waits in the kernel's queue. */
  detach(engine: ChildProcess): void {
    if (this.#engine === engine) this.#engine = undefined;
  }

  /** Lets go of everything but the paths: the engine goes on accepting until a new control has taken them over. */
  leave(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const door of this.#doors.values()) close(door);
    this.#doors.clear();
  }

  /** Takes every door away. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#inTurn(async () => {
      for (const door of this.#doors.values()) await this.#remove(door);
    });
    this.leave();
  }

  #renew(door: Door, { plan, order }: Pick<DoorSpec, 'plan' | 'order'>): void {
    if (order >= door.order) {
      door.plan = plan;
      door.order = order;
    }
    this.#tell(door, undefined);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.then(
      () => undefined,
      () => undefined,
    );
    return turn;
  }

  async #open(id: string, spec: DoorSpec): Promise<Door> {
    const { target, parent, plan, order } = spec;
    const server = createServer();
    let told: ChildProcess | undefined;
    const folder = await makeDoorFolder(parent, target, server, async (_, path) => {
      bindUnheard(server, path);
      told = await this.#heard({ id, plan, server }, path).catch((error: unknown) => {
        // It has the socket, and may come to it later.
        this.#send({ type: 'close door', door: id });
        throw error;
      });
    });
    this.#warnOf(target, folder.setAside);
    const door = { id, target, parent, plan, order, server, folder, watcher: this.#watch(folder) };
    this.#doors.set(id, door);
    // An engine that came meanwhile was told of the doors that there were.
    if (this.#engine !== told) this.#tell(door, server);
    return door;
  }

  #warnOf(target: string, setAside: string | undefined): void {
    if (setAside === undefined) return;
    this.#options.log.warn(
      { target, path: setAside },
      'what somebody else has put in the place of the target socket is kept; a server in it is reached with this path as BMUX_RUNTIME_DIR',
    );
  }

  /** Root is not held back by a folder's mode: a bmux that starts a server there must find ours again before it has connected. */
  #watch({ runtimeDir }: DoorFolder): FSWatcher | undefined {
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

  /** Resolves with the engine that listens at `path`: nobody is to find a path that refuses. Waits for an engine as long as there is none. */
  async #heard(door: Pick<Door, 'id' | 'plan' | 'server'>, path: string): Promise<ChildProcess> {
    let until = Infinity;
    let told: ChildProcess | undefined;
    while (told === undefined || !(await isListening(path, LIMITS.engineAnswerMs))) {
      if (this.#closed) throw fail('stopping');
      if (performance.now() > until)
        throw fail('engine_unavailable', { why: 'it does not accept on target sockets' });
      if (this.#engine !== undefined && this.#engine !== told) {
        told = this.#engine;
        until = performance.now() + LIMITS.engineAnswerMs;
        this.#tell(door, door.server);
      } else await pause(HEARD_MS);
    }
    return told;
  }

  async #remove(door: Door): Promise<void> {
    this.#doors.delete(door.id);
    await this.#removeFolder(door);
    close(door);
    this.#send({ type: 'close door', door: door.id });
  }

  /** Never rejects: what cannot be removed must not keep the other doors, or the end of the daemon. */
  async #removeFolder({ target, folder }: Door): Promise<void> {
    try {
      this.#warnOf(target, await folder.remove());
    } catch (error) {
      this.#options.log.warn({ target, err: asFailure(error).data }, 'removing a target socket');
    }
  }

  /** `server`: where the engine does not know the socket yet. */
  #tell({ id, plan }: Pick<Door, 'id' | 'plan'>, server: Server | undefined): void {
    this.#send({ type: 'door', door: id, plan }, server);
  }

  #send(message: ToEngine, server?: Server): void {
    if (this.#engine?.connected !== true) return;
    if (server === undefined) this.#engine.send(message, ignore);
    else this.#engine.send(message, server, ignore);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      for (const door of this.#doors.values()) {
        if (await door.folder.isOurs()) continue;
        await this.#inTurn(() => this.#takeBack(door));
      }
    } catch (error) {
      if (!this.#closed)
        this.#options.log.error({ err: asFailure(error).data }, 'looking after the target sockets');
    } finally {
      this.#looking = false;
    }
  }

  /** Somebody else's socket, or none, is where ours should be: a fresh folder takes the path back. */
  async #takeBack(door: Door): Promise<void> {
    if (this.#closed || this.#doors.get(door.id) !== door || (await door.folder.isOurs())) return;
    if (!(await this.#options.mayTakeBack())) return;
    this.#options.log.warn(
      { target: door.target, path: door.folder.socketPath },
      'the target socket was replaced by somebody; taking the path back',
    );
    this.#options.event({ type: 'door taken back', target: door.target, detail: door.folder.socketPath });
    await this.#open(door.id, door);
    close(door);
    await this.#removeFolder(door);
  }
}

function close({ server, watcher }: Door): void {
  server.close();
  watcher?.close();
}

function idOf({ parent, target }: Pick<DoorSpec, 'parent' | 'target'>): string {
  return `${parent}|${target}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function ignore(): void {
  // The other side is gone; its exit says so.
}
