// Which target sockets there should be: one for every configured target of each context that asked for one, and inline targets on demand.
import { setMaxListeners } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../base/log.ts';
import { SCHEMA, type TargetSocketAnswer } from '../../api/answers.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import type { Destination, Plan } from '../../engine-protocol/plan.ts';
import type { CallerEnv, StreamRequest } from '../../api/request.ts';
import { TARGETS_FOLDER } from '../../api/target-socket-env.ts';
import { clearFolders, sweepFolders } from './folder.ts';
import type { TargetSockets, TargetSocketSpec } from './target-sockets.ts';
import type { KnownContexts } from './client-file.ts';
import { planStream, type PlanningDeps } from '../planning/plan-stream.ts';
import { Renewals } from './renewals.ts';
import { ServedContexts, type Place } from './client-store.ts';
import { askedAfter, requestOf, withAgents, type Asked, type Asking, type Served } from './clients.ts';

export interface ReconcilerOptions extends PlanningDeps {
  /** The bmuxd dir. */
  readonly dir: string;
  readonly targetSockets: TargetSockets;
  readonly known: KnownContexts;
  /** The daemon's own context. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
  readonly log: Logger;
}

/** Folders of contexts that had target sockets once. */
const MAX_OLD_PARENTS = 64;
/** ms after a start when the engines of an earlier daemon have left what they served. */
const SWEEP_MS = 15_000;
/** Failures that say nothing of the target. */
const PASSING: ReadonlySet<string> = new Set(['engine_unavailable', 'out_of_time']);
/** ms until it is tried again after one of them. */
const AGAIN_MS = 2000;

export class TargetSocketReconciler {
  readonly #options: ReconcilerOptions;
  readonly #served: ServedContexts;
  readonly #abort = new AbortController();
  /** One run at a time, so that no older plan comes after a newer one; and one that waits, for all that changed meanwhile. */
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  /** The same for inline targets. */
  #inlineDone: Promise<void> = Promise.resolve();
  #inlineNext: Promise<void> | undefined;
  /** By target socket. */
  readonly #renewals = new Renewals();
  #sweep: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #made = 0;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#served = new ServedContexts(options);
    // One for each lookup that is under way: as many as there are inline targets.
    setMaxListeners(0, this.#abort.signal);
  }

  /** Makes the target sockets of the daemon's own context and of those that it knew before. Never rejects. */
  async open(): Promise<void> {
    await this.#served.load();
    this.#forgetOldest();
    await this.refresh();
    await this.#inlineDone;
    await this.#sweepAll();
    if (!this.#abort.signal.aborted) {
      this.#sweep = setTimeout(() => void this.#sweepAll(), SWEEP_MS);
      this.#sweep.unref();
    }
  }

  /** The target socket of one target, made now if it has to be. Rejects with the failure of the target. */
  async ensure(request: StreamRequest): Promise<TargetSocketAnswer> {
    const { targetSockets, contexts } = this.#options;
    const target = request.target?.trim() ?? '';
    if (target === '')
      throw fail('request_field_invalid', { field: 'target', why: 'a target socket needs a target' });
    // Who asks for the first one may have started the daemon by that: what it remembers is not to be written over.
    await this.#served.load();
    const asking = this.#askingOf(request);
    const place = this.#served.placeOf(asking, await contexts.view(requestOf(asking)));
    const { parent } = place;
    const asked = askedAfter(place.served, asking);
    const made = await this.#make(asked, target);
    // Before there is a target socket: a refresh that is under way removes what nobody wants.
    await this.#remember(place, asking, asked, target);
    const folder = await targetSockets.ensure({ target, parent, ...made });
    // Others may have asked meanwhile, for more contexts than the settings allow: the one that has just got its target socket is not forgotten.
    if (this.#served.get(parent) === undefined) await this.#remember(place, asking, asked, target);
    return { schema: SCHEMA, target, runtimeDir: folder.runtimeDir, socketPath: folder.socketPath };
  }

  /** The plan of one target, without policies: for what the daemon does by itself. */
  async planFor(request: StreamRequest): Promise<Plan> {
    const wanted: StreamRequest = {
      ...requestOf(this.#askingOf(request)),
      target: request.target ?? '',
      policy: false,
    };
    return planStream(wanted, 'bmuxd', this.#options, () => this.#abort.signal);
  }

  /** True when one of the environments with this key that agree has target sockets: its files must stay watched. */
  serves(key: string, agrees: (env: CallerEnv) => boolean): boolean {
    return this.#served.serves(key, agrees);
  }

  /**
   * Renews every plan, makes what is new and removes what the config no longer names: called when a config has changed. Never rejects. Inline targets
   * follow in the background: a control plane that does not answer must not hold up those that the config names.
   */
  refresh(): Promise<void> {
    this.#next ??= this.#running.then(async () => {
      this.#next = undefined;
      const parents = this.#served.parents();
      for (const parent of parents) await this.#sync(parent);
      this.#inlineNext ??= this.#inlineDone.then(async () => {
        this.#inlineNext = undefined;
        await Promise.all(this.#served.parents().map((parent) => this.#syncInline(parent)));
      });
      this.#inlineDone = this.#inlineNext;
    });
    this.#running = this.#next;
    return this.#next;
  }

  /** Where a target socket leads now whose destination is out of reach: an iroh host's id changes at its restart. Rejects as resolving does. */
  async resolveAgain(id: string): Promise<Destination | undefined> {
    const { targetSockets } = this.#options;
    await this.#renewals.run(id, () => this.#renew(id));
    return targetSockets.find(id)?.destination;
  }

  async #renew(id: string): Promise<void> {
    const { targetSockets } = this.#options;
    const targetSocket = targetSockets.find(id);
    const served = targetSocket === undefined ? undefined : this.#served.get(targetSocket.parent);
    if (targetSocket === undefined || served === undefined) return;
    await targetSockets.renew(id, await this.#make(served.asked, targetSocket.target));
  }

  close(): void {
    this.#abort.abort(fail('stopping'));
    clearTimeout(this.#sweep);
    clearTimeout(this.#again);
  }

  /** After all engines are gone: takes away what earlier daemons left, too. Never rejects. */
  async clear(): Promise<void> {
    for (const parent of await this.#parents()) await clearFolders(parent);
  }

  /** Only so many folders of contexts that have no target sockets any more are kept, with links that lead nowhere. */
  async #forgetOldParents(): Promise<void> {
    const isOver = (parent: string): boolean => this.#served.get(parent) === undefined;
    const parents = await Promise.all(
      (await this.#parents()).filter(isOver).map(async (parent) => ({
        parent,
        mtimeMs: (await stat(parent).catch(() => undefined))?.mtimeMs ?? 0,
      })),
    );
    parents.sort((a, b) => b.mtimeMs - a.mtimeMs);
    for (const { parent } of parents.slice(MAX_OLD_PARENTS))
      await this.#options.targetSockets.forget(parent, () => isOver(parent));
  }

  async #remember(place: Place, asking: Asking, made: Asked, target: string): Promise<void> {
    const { parent } = place;
    const isOther = this.#served.use(place, asking, made);
    this.#forgetOldest(parent);
    const { config } = await this.#options.contexts.view(requestOf(made.asking));
    if (!config.connections.targets.has(target)) this.#served.keep(parent, target);
    await this.#served.save();
    if (isOther) void this.refresh();
  }

  /** As many contexts as the settings allow have target sockets; the daemon's own always has, and so has the one that is just asking. */
  #forgetOldest(asking?: string): void {
    const { settings, targetSockets, log } = this.#options;
    for (const parent of this.#served.forgetOldest(settings()['contexts.max'], asking)) {
      targetSockets
        .clear(parent)
        .then(() => this.#forgetOldParents())
        .catch((error: unknown) => {
          log.warn({ parent, err: asFailure(error).data }, 'removing target sockets');
        });
    }
  }

  /** Never rejects: a target that cannot be resolved has no target socket, and says so when somebody asks for it. */
  async #sync(parent: string): Promise<void> {
    const { contexts, targetSockets, log } = this.#options;
    const served = this.#served.get(parent);
    if (served === undefined || this.#abort.signal.aborted) return;
    try {
      const { config } = await contexts.view(requestOf(served.asked.asking));
      const named = config.connections.targets;
      const kept = new Set<string>();
      for (const target of named.keys()) if (await this.#renewed(parent, served, target)) kept.add(target);
      // Those of now: a target socket may have been asked for meanwhile, or the whole context forgotten.
      if (this.#served.get(parent) === served)
        await targetSockets.retain(parent, new Set([...kept, ...served.inline]));
    } catch (error) {
      log.warn({ parent, err: asFailure(error).data }, 'target sockets stay as they are');
    }
  }

  /** Where an inline target leads may be known to a control plane that cannot be asked just now: its target socket stays as it is then. Never rejects. */
  async #syncInline(parent: string): Promise<void> {
    const served = this.#served.get(parent);
    if (served === undefined || this.#abort.signal.aborted) return;
    await Promise.all([...served.inline].map((target) => this.#renewed(parent, served, target)));
  }

  /** False when the target cannot be resolved. What is nothing of the target's own, such as an engine that hangs, passes: it is tried again. */
  async #renewed(parent: string, served: Served, target: string): Promise<boolean> {
    try {
      const made = await this.#make(served.asked, target);
      // It may have been forgotten meanwhile: nobody would look after its target sockets.
      if (this.#served.get(parent) !== served) return false;
      await this.#options.targetSockets.ensure({ target, parent, ...made });
      return true;
    } catch (error) {
      const failure = asFailure(error);
      this.#options.log.debug({ target, err: failure.data }, 'no target socket');
      const passes = PASSING.has(failure.code);
      if (passes && !this.#abort.signal.aborted) {
        this.#again ??= setTimeout(() => {
          this.#again = undefined;
          void this.refresh();
        }, AGAIN_MS);
        this.#again.unref();
      }
      return passes;
    }
  }

  /** A client of a target socket has checked slot and build itself, brings its own principal and contract, and has the whole time. */
  async #make(
    { asking, agents }: Asked,
    target: string,
  ): Promise<Pick<TargetSocketSpec, 'destination' | 'principal' | 'order'>> {
    this.#made += 1;
    const order = this.#made;
    const request: StreamRequest = { ...requestOf(asking), target, policy: false };
    const id = `target-socket-${order.toString(36)}`;
    const { destination, client } = await planStream(request, id, this.#options, () => this.#abort.signal);
    return { order, destination: withAgents(destination, agents), principal: client.principal };
  }

  #askingOf({ env, cwd, slot }: StreamRequest): Asking {
    const { own } = this.#options;
    return { env: env ?? own.env, cwd: cwd ?? (env === undefined ? own.cwd : undefined), slot };
  }

  async #parents(): Promise<string[]> {
    const { dir } = this.#options;
    const names = await readdir(dir).catch((): string[] => []);
    return names.filter((name) => TARGETS_FOLDER.test(name)).map((name) => join(dir, name));
  }

  /** What a daemon that was killed has left, in contexts that are still known and in others. Never rejects. */
  async #sweepAll(): Promise<void> {
    for (const parent of await this.#parents()) {
      await sweepFolders(parent).catch((error: unknown) => {
        this.#options.log.warn({ parent, err: asFailure(error).data }, 'sweeping target sockets');
      });
    }
  }
}
