// Stores the clients of all target sockets, by the folder of target sockets that they share.
import { basename, join } from 'node:path';
import type { CallerEnv } from '../../../api/request.ts';
import { TARGETS_FOLDER } from '../../../api/target-socket-env.ts';
import { LruMap } from '../../../base/lru-map.ts';
import type { Reads } from '../../../config/bmux/reads.ts';
import { contextInputs, contextName } from '../../contexts/context-key.ts';
import type { ClientFile, RememberedClients } from './client-file.ts';
import {
  addClient,
  addRemembered,
  clientsOf,
  firstClient,
  mayShare,
  toRemember,
  type ClientEnvironment,
  type ContextClients,
} from './clients.ts';

/** The context of an environment, as its files have determined it. */
export interface ContextView {
  /** Name of the context. */
  readonly context: string;
  /** Variables of the environment that the files read, with their values. */
  readonly reads: Reads;
}

export interface ClientStoreOptions {
  /** The bmuxd dir. */
  readonly dir: string;
  readonly file: ClientFile;
  /** The context of an environment. Rejects when its files cannot be read. */
  readonly view: (environment: ClientEnvironment) => Promise<ContextView>;
  /** Environment of the daemon itself, whose context always has target sockets. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
}

export class ClientStore {
  readonly #options: ClientStoreOptions;
  readonly #ownFolder: string;
  readonly #clients = new LruMap<string, ContextClients>(Number.POSITIVE_INFINITY);
  #loaded: Promise<void> | undefined;

  constructor(options: ClientStoreOptions) {
    this.#options = options;
    this.#ownFolder = join(options.dir, 'targets');
  }

  /** Loads the saved clients at the first call; later calls wait for the same load. Never rejects. */
  load(): Promise<void> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }

  /** The clients that share the target sockets in `folder`. */
  get(folder: string): ContextClients | undefined {
    return this.#clients.peek(folder);
  }

  /** Folders of all contexts that have clients. */
  folders(): string[] {
    return [...this.#clients.keys()];
  }

  /** True when there are clients with this key for whose environment `agrees` is true. */
  has(key: string, agrees: (env: CallerEnv) => boolean): boolean {
    return [...this.#clients.values()].some((one) => one.key === key && agrees(one.environment.env));
  }

  /**
   * The folder of target sockets for an environment: one that it may share with other clients, else a new one. When the files begin to
   * read a variable that the clients of a folder have set differently, the first client keeps the folder. The others get another one
   * at their next request.
   */
  folderOf(environment: ClientEnvironment, { reads, context }: ContextView): string {
    const shared = [...this.#clients].filter(([, one]) => mayShare(one, environment, reads));
    const [folder] = shared.find(([one]) => one === this.#ownFolder) ?? shared.at(-1) ?? [];
    return folder ?? join(this.#options.dir, `targets-${context}`);
  }

  /** Adds a client to those of `folder`. True when this has changed which SSH agents are used for its target sockets. */
  use(folder: string, environment: ClientEnvironment): boolean {
    const known = this.#clients.get(folder);
    if (known !== undefined) return addClient(known, environment);
    this.#clients.set(folder, firstClient(environment));
    return true;
  }

  /** Called when a target socket has been made for the clients of `folder`; they are saved from now on. True the first time. */
  confirm(folder: string): boolean {
    const clients = this.#clients.peek(folder);
    if (clients === undefined || clients.isConfirmed) return false;
    clients.isConfirmed = true;
    return true;
  }

  /** Keeps the target socket of an inline target. Returns the inline target that was dropped for it, if any. */
  keepInline(folder: string, target: string): string | undefined {
    const inline = this.#clients.peek(folder)?.inline;
    const [oldest] = inline?.keys() ?? [];
    inline?.set(target, true);
    return oldest === undefined || inline?.has(oldest) === true ? undefined : oldest;
  }

  /** Removes the clients of `folder` if they never got a target socket. True when they were removed. */
  forgetUnconfirmed(folder: string): boolean {
    return this.#clients.peek(folder)?.isConfirmed === false && this.#clients.delete(folder);
  }

  /**
   * Removes the least recently used contexts beyond `max`, and returns their folders. The daemon's own context is never removed, nor one
   * for whose folder `stays` is true.
   */
  forgetOldest(max: number, stays: (folder: string) => boolean): string[] {
    const forgotten: string[] = [];
    for (const folder of this.folders()) {
      if (this.#clients.size <= max) break;
      if (folder === this.#ownFolder || stays(folder)) continue;
      this.#clients.delete(folder);
      forgotten.push(folder);
    }
    return forgotten;
  }

  /** Saves all clients that have got a target socket. Never rejects. */
  save(): Promise<void> {
    const confirmed = [...this.#clients].filter(([, { isConfirmed }]) => isConfirmed);
    return this.#options.file.save(confirmed.map(([folder, one]) => toRemember(one, basename(folder))));
  }

  async #load(): Promise<void> {
    const { own, file } = this.#options;
    const nothing = { slot: undefined, inline: [], earlierAgents: [], folder: undefined };
    this.#clients.set(this.#ownFolder, clientsOf({ ...own, ...nothing }));
    for (const remembered of await file.load()) {
      const folder = await this.#formerFolderOf(remembered);
      const known = this.#clients.get(folder);
      if (known === undefined) this.#clients.set(folder, clientsOf(remembered));
      else addRemembered(known, remembered);
    }
  }

  /** The folder in which these clients had their target sockets. It differs if the daemon's own context is another one than before. */
  async #formerFolderOf(remembered: RememberedClients): Promise<string> {
    const { env, cwd, slot, folder } = remembered;
    const { key } = contextInputs(env, cwd, slot);
    const own = basename(this.#ownFolder);
    if (folder !== undefined && folder !== own && TARGETS_FOLDER.test(folder))
      return join(this.#options.dir, folder);
    if (folder === own && this.#clients.peek(this.#ownFolder)?.key === key) return this.#ownFolder;
    const unknown = { reads: new Map<string, string>(), context: contextName(key, new Map()) };
    return this.folderOf(remembered, await this.#options.view(remembered).catch(() => unknown));
  }
}
