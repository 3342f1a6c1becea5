// Which contexts have target sockets, and in which folders; remembered over restarts.
import { basename, join } from 'node:path';
import type { CallerEnv } from '../../api/request.ts';
import { contextInputs, contextName } from '../contexts/context-key.ts';
import type { Contexts, View } from '../contexts/contexts.ts';
import { TARGETS_FOLDER } from '../../api/target-socket-env.ts';
import type { KnownContext, KnownContexts } from './client-file.ts';
import {
  addRemembered,
  askedAfter,
  isSharedBy,
  requestOf,
  servedFor,
  toRemember,
  type Asked,
  type Asking,
  type Served,
} from './clients.ts';

export interface ServedContextsOptions {
  /** The bmuxd dir. */
  readonly dir: string;
  readonly known: KnownContexts;
  readonly contexts: Contexts;
  /** The daemon's own context: it always has target sockets. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
}

/** The folder of an environment, and what is served there to others like it. */
export interface Place {
  readonly parent: string;
  readonly served?: Served;
}

/** Inline targets of one context that keep a socket; further ones replace the oldest. */
const MAX_INLINE = 64;

export class ServedContexts {
  readonly #options: ServedContextsOptions;
  readonly #ownParent: string;
  /** By the folder of their target sockets; the least recently used first. */
  readonly #served = new Map<string, Served>();
  #loaded: Promise<void> | undefined;

  constructor(options: ServedContextsOptions) {
    this.#options = options;
    this.#ownParent = join(options.dir, 'targets');
  }

  /** Adds what was remembered, once. Never rejects. */
  load(): Promise<void> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }

  get(parent: string): Served | undefined {
    return this.#served.get(parent);
  }

  parents(): string[] {
    return [...this.#served.keys()];
  }

  /** True when one of the environments with this key that agree is served. */
  serves(key: string, agrees: (env: CallerEnv) => boolean): boolean {
    return [...this.#served.values()].some((served) => served.key === key && agrees(served.asked.asking.env));
  }

  /**
   * The folder that an environment shares, else a new one. Where the files of a folder begin to read what its callers have otherwise, its first
   * caller's counts there, and whoever asks gets the right one.
   */
  placeOf(asking: Asking, { reads, context }: Pick<View, 'reads' | 'context'>): Place {
    const shared = [...this.#served].filter(([, served]) => isSharedBy(served, asking, reads));
    const [parent, served] = shared.find(([folder]) => folder === this.#ownParent) ?? shared.at(-1) ?? [];
    if (parent === undefined || served === undefined)
      return { parent: join(this.#options.dir, `targets-${context}`) };
    return { parent, served };
  }

  /**
   * Somebody has asked for a target socket there, which was made for `made`; others may have asked meanwhile. True when plans have to be made anew: the
   * agent of who has come last counts for all.
   */
  use({ parent, served: shared }: Place, asking: Asking, made: Asked): boolean {
    const known = this.#served.get(parent);
    const asked = askedAfter(known, asking);
    const agents = asked.agents.join();
    const isOther =
      known === undefined ||
      known !== shared ||
      known.asked.agents.join() !== agents ||
      made.agents.join() !== agents;
    const served = known ?? servedFor({ ...asked.asking, inline: [], earlierAgents: [], folder: undefined });
    served.asked = asked;
    this.#served.delete(parent);
    this.#served.set(parent, served);
    return isOther;
  }

  /** An inline target keeps its target socket. */
  keep(parent: string, target: string): void {
    const inline = this.#served.get(parent)?.inline;
    if (inline === undefined) return;
    inline.delete(target);
    inline.add(target);
    const [oldest] = inline;
    if (inline.size > MAX_INLINE && oldest !== undefined) inline.delete(oldest);
  }

  /** Forgets the least recently used but `max`, never the daemon's own or `asking`. Gives the folders of those. */
  forgetOldest(max: number, asking?: string): string[] {
    const forgotten: string[] = [];
    for (const parent of this.#served.keys()) {
      if (this.#served.size <= max) break;
      if (parent === this.#ownParent || parent === asking) continue;
      this.#served.delete(parent);
      forgotten.push(parent);
    }
    return forgotten;
  }

  /** Never rejects. */
  save(): Promise<void> {
    return this.#options.known.save(
      [...this.#served].map(([parent, served]) => toRemember(served, basename(parent))),
    );
  }

  async #load(): Promise<void> {
    const { own, known } = this.#options;
    const nothing = { slot: undefined, inline: [], earlierAgents: [], folder: undefined };
    this.#served.set(this.#ownParent, servedFor({ ...own, ...nothing }));
    for (const before of await known.load()) {
      const parent = await this.#formerPlaceOf(before);
      const served = this.#served.get(parent);
      if (served === undefined) this.#served.set(parent, servedFor(before));
      else addRemembered(served, before);
    }
  }

  /** Where its target sockets were, unless the daemon's own context is another one since. */
  async #formerPlaceOf(before: KnownContext): Promise<string> {
    const { env, cwd, slot, folder } = before;
    const { key } = contextInputs(env, cwd, slot);
    const own = basename(this.#ownParent);
    if (folder !== undefined && folder !== own && TARGETS_FOLDER.test(folder))
      return join(this.#options.dir, folder);
    if (folder === own && this.#served.get(this.#ownParent)?.key === key) return this.#ownParent;
    const unread = { reads: new Map<string, string>(), context: contextName(key, new Map()) };
    const view = await this.#options.contexts.view(requestOf(before)).catch(() => unread);
    return this.placeOf(before, view).parent;
  }
}
