// The store of all clients of target sockets, by the folder that they share.
import { basename, join } from 'node:path';
import type { CallerEnv } from '../../api/request.ts';
import { TARGETS_FOLDER } from '../../api/target-socket-env.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import { contextInputs, contextName } from '../contexts/context-key.ts';
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

/** What the files of an environment say of its context. */
export interface ContextView {
  /** Name of the context. */
  readonly context: string;
  /** What the files made read of the environment. */
  readonly reads: Reads;
}

export interface ClientStoreOptions {
  /** The bmuxd dir. */
  readonly dir: string;
  readonly file: ClientFile;
  /** Rejects when the files cannot be read. */
  readonly view: (environment: ClientEnvironment) => Promise<ContextView>;
  /** Environment of the daemon itself: its context always has target sockets. */
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

  /** Adds what was remembered, once. Never rejects. */
  load(): Promise<void> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }

  get(folder: string): ContextClients | undefined {
    return this.#clients.peek(folder);
  }

  /** Folders of all contexts that have clients. */
  folders(): string[] {
    return [...this.#clients.keys()];
  }

  /** True when a context with this key has clients whose environment agrees. */
  has(key: string, agrees: (env: CallerEnv) => boolean): boolean {
    return [...this.#clients.values()].some((one) => one.key === key && agrees(one.environment.env));
  }

  /**
   * The folder of an environment: the one that it may share with others, else a new one. When the files begin to read what the clients of a folder
   * have set differently, the folder stays the first client's. Each other client gets another folder when it asks again.
   */
  folderOf(environment: ClientEnvironment, { reads, context }: ContextView): string {
    const shared = [...this.#clients].filter(([, one]) => mayShare(one, environment, reads));
    const [folder] = shared.find(([one]) => one === this.#ownFolder) ?? shared.at(-1) ?? [];
    return folder ?? join(this.#options.dir, `targets-${context}`);
  }

  /** A client uses the target sockets in `folder`. True when other agents count for all of them since. */
  use(folder: string, environment: ClientEnvironment): boolean {
    const known = this.#clients.get(folder);
    if (known !== undefined) return addClient(known, environment);
    this.#clients.set(folder, firstClient(environment));
    return true;
  }

  /** The clients in `folder` have a target socket, and are remembered from now on. True the first time. */
  confirm(folder: string): boolean {
    const clients = this.#clients.peek(folder);
    if (clients === undefined || clients.isConfirmed) return false;
    clients.isConfirmed = true;
    return true;
  }

  /** An inline target keeps its target socket. Returns the one that loses its own for that, if any. */
  keepInline(folder: string, target: string): string | undefined {
    const inline = this.#clients.peek(folder)?.inline;
    const [oldest] = inline?.keys() ?? [];
    inline?.set(target, true);
    return oldest === undefined || inline?.has(oldest) === true ? undefined : oldest;
  }

  /** Forgets clients that never got a target socket. False when there are none such. */
  forgetUnconfirmed(folder: string): boolean {
    return this.#clients.peek(folder)?.isConfirmed === false && this.#clients.delete(folder);
  }

  /** Forgets the least recently used contexts beyond `max`, never the daemon's own and never one that `stays`. Returns their folders. */
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

  /** Never rejects. */
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

  /** Where the target sockets were, unless the daemon's own context is another one since. */
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
