// Which target sockets there should be: one for every configured target of each context that asked for one, and inline targets on demand.
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../base/log.ts';
import { SCHEMA, type DoorAnswer } from '../wire/answers.ts';
import { asFailure, fail } from '../wire/fail.ts';
import type { Plan } from '../wire/plan.ts';
import type { CallerEnv, StreamRequest } from '../wire/request.ts';
import { contextInputs } from './context-key.ts';
import { DOORS_FOLDER } from './door-env.ts';
import { clearDoors, sweepDoors } from './door-folder.ts';
import type { Doors, DoorSpec } from './doors.ts';
import type { KnownContext, KnownContexts } from './known-contexts.ts';
import { prepare, type PrepareDeps } from './prepare.ts';
import { Renewals } from './renewals.ts';

export interface TargetDoorsOptions extends PrepareDeps {
  /** The bmuxd dir. */
  readonly dir: string;
  readonly doors: Doors;
  readonly known: KnownContexts;
  /** The daemon's own context. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
  readonly log: Logger;
}

type Context = Omit<KnownContext, 'inline'>;

interface Served {
  /** Of the context (daemon/control/context-key.ts). */
  readonly key: string;
  /** As its last caller had it: agent, terminal and folder belong to the caller, and the last one's count. */
  context: Context;
  /** Targets outside the config, the oldest first. */
  readonly inline: Set<string>;
}

/** Inline targets of one context that keep a socket; further ones replace the oldest. */
const MAX_INLINE = 64;
/** Folders of contexts that had doors once. */
const MAX_OLD_PARENTS = 64;
/** ms after a start when the engines of an earlier daemon have left what they served. */
const SWEEP_MS = 15_000;
/** Failures that say nothing of the target. */
const PASSING: ReadonlySet<string> = new Set(['engine_unavailable', 'out_of_time']);
/** ms until it is tried again after one of them. */
const AGAIN_MS = 2000;

export class TargetDoors {
  readonly #options: TargetDoorsOptions;
  readonly #ownParent: string;
  /** By the folder of their doors; the least recently used first. */
  readonly #served = new Map<string, Served>();
  readonly #abort = new AbortController();
  /** One run at a time, so that no older plan comes after a newer one; and one that waits, for all that changed meanwhile. */
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  /** The same for inline targets. */
  #inlineDone: Promise<void> = Promise.resolve();
  #inlineNext: Promise<void> | undefined;
  /** By door. */
  readonly #renewals = new Renewals();
  #sweep: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #made = 0;

  constructor(options: TargetDoorsOptions) {
    this.#options = options;
    this.#ownParent = join(options.dir, 'targets');
    // One for each lookup that is under way: as many as there are inline targets.
    setMaxListeners(0, this.#abort.signal);
  }

  /** Makes the doors of the daemon's own context and of those that it knew before. Never rejects. */
  async open(): Promise<void> {
    const { own, known } = this.#options;
    const before = await known.load();
    const ownContext: Context = { env: own.env, cwd: own.cwd, slot: undefined };
    this.#served.set(this.#ownParent, servedFor(ownContext));
    for (const { inline, ...context } of before) {
      const parent = this.#parentOf(context);
      if (parent !== this.#ownParent) this.#served.set(parent, servedFor(context, inline));
      else this.#remembered(context, inline);
    }
    this.#forgetOldest();
    await this.refresh();
    await this.#inlineDone;
    await this.#sweepAll();
    if (!this.#abort.signal.aborted) {
      this.#sweep = setTimeout(() => void this.#sweepAll(), SWEEP_MS);
      this.#sweep.unref();
    }
  }

  /** The door of one target, made now if it has to be. Rejects with the failure of the target. */
  async ensure(request: StreamRequest): Promise<DoorAnswer> {
    const { doors } = this.#options;
    const target = request.target?.trim() ?? '';
    if (target === '')
      throw fail('request_field_invalid', { field: 'target', why: 'a target socket needs a target' });
    const asking = this.#contextOf(request);
    const parent = this.#parentOf(asking);
    const context = withAgentOf(this.#served.get(parent)?.context, asking);
    const made = await this.#make(context, target);
    // Before there is a door: a refresh that is under way removes what nobody wants.
    await this.#remember(parent, context, target);
    const folder = await doors.ensure({ target, parent, ...made });
    // Others may have asked meanwhile, for more contexts than the settings allow: the one that has just got its door is not forgotten.
    if (!this.#served.has(parent)) await this.#remember(parent, context, target);
    return { schema: SCHEMA, target, runtimeDir: folder.runtimeDir, socketPath: folder.socketPath };
  }

  /** The plan of one target, without policies: for what the daemon does by itself. */
  async planFor(request: StreamRequest): Promise<Plan> {
    return (await this.#make(this.#contextOf(request), request.target ?? '')).plan;
  }

  /** True for a context that has doors: its files must stay watched. */
  serves(key: string): boolean {
    return [...this.#served.values()].some((served) => served.key === key);
  }

  /**
   * Renews every plan, makes what is new and removes what the config no longer names: called when a config has changed. Never rejects. Inline targets
   * follow in the background: a control plane that does not answer must not hold up those that the config names.
   */
  refresh(): Promise<void> {
    this.#next ??= this.#running.then(async () => {
      this.#next = undefined;
      const parents = [...this.#served.keys()];
      for (const parent of parents) await this.#sync(parent);
      this.#inlineNext ??= this.#inlineDone.then(async () => {
        this.#inlineNext = undefined;
        await Promise.all([...this.#served.keys()].map((parent) => this.#syncInline(parent)));
      });
      this.#inlineDone = this.#inlineNext;
    });
    this.#running = this.#next;
    return this.#next;
  }

  /** A plan that led nowhere is made anew: a share link may lead elsewhere by now (an iroh host's id changes at its restart). */
  renew(doorId: string): Promise<void> {
    return this.#renewals.run(doorId, () => this.#renewNow(doorId));
  }

  async #renewNow(doorId: string): Promise<void> {
    const { doors } = this.#options;
    const door = doors.find(doorId);
    const served = door === undefined ? undefined : this.#served.get(door.parent);
    if (door === undefined) return;
    // The engine waits for an answer: that there is no other way is one.
    if (served === undefined) return doors.renew(doorId);
    try {
      await doors.renew(doorId, await this.#make(served.context, door.target));
    } catch (error) {
      await doors.renew(doorId);
      throw error;
    }
  }

  close(): void {
    this.#abort.abort(fail('stopping'));
    clearTimeout(this.#sweep);
    clearTimeout(this.#again);
  }

  /** After all engines are gone: takes away what earlier daemons left, too. Never rejects. */
  async clear(): Promise<void> {
    for (const parent of await this.#parents()) await clearDoors(parent);
  }

  /** Only so many folders of contexts that have no doors any more are kept, with links that lead nowhere. */
  async #forgetOldParents(): Promise<void> {
    const isOver = (parent: string): boolean => !this.#served.has(parent);
    const parents = await Promise.all(
      (await this.#parents()).filter(isOver).map(async (parent) => ({
        parent,
        mtimeMs: (await stat(parent).catch(() => undefined))?.mtimeMs ?? 0,
      })),
    );
    parents.sort((a, b) => b.mtimeMs - a.mtimeMs);
    for (const { parent } of parents.slice(MAX_OLD_PARENTS))
      await this.#options.doors.forget(parent, () => isOver(parent));
  }

  /** What is remembered of the daemon's own context: its inline targets, and an agent when the daemon was started without one. */
  #remembered({ env }: Context, inline: readonly string[]): void {
    const served = this.#served.get(this.#ownParent);
    if (served === undefined) return;
    for (const target of inline) served.inline.add(target);
    served.context = withAgentOf({ env }, served.context);
  }

  async #remember(parent: string, context: Context, target: string): Promise<void> {
    const known = this.#served.get(parent);
    const served = known ?? servedFor(context);
    served.context = context;
    this.#served.delete(parent);
    this.#served.set(parent, served);
    this.#forgetOldest(parent);
    const { config } = await this.#options.contexts.view(requestOf(context));
    if (!config.connections.targets.has(target)) {
      served.inline.delete(target);
      served.inline.add(target);
      const [oldest] = served.inline;
      if (served.inline.size > MAX_INLINE && oldest !== undefined) served.inline.delete(oldest);
    }
    await this.#options.known.save(
      [...this.#served.values()].map((one) => ({ ...one.context, inline: [...one.inline] })),
    );
    if (known === undefined) void this.refresh();
  }

  /** As many contexts as the settings allow have doors; the daemon's own always has, and so has the one that is just asking. */
  #forgetOldest(asking?: string): void {
    const { settings, doors, log } = this.#options;
    const max = settings()['contexts.max'];
    for (const parent of this.#served.keys()) {
      if (this.#served.size <= max) return;
      if (parent === this.#ownParent || parent === asking) continue;
      this.#served.delete(parent);
      doors
        .clear(parent)
        .then(() => this.#forgetOldParents())
        .catch((error: unknown) => {
          log.warn({ parent, err: asFailure(error).data }, 'removing target sockets');
        });
    }
  }

  /** Never rejects: a target that cannot be resolved has no door, and says so when somebody asks for it. */
  async #sync(parent: string): Promise<void> {
    const { contexts, doors, log } = this.#options;
    const served = this.#served.get(parent);
    if (served === undefined || this.#abort.signal.aborted) return;
    try {
      const { config } = await contexts.view(requestOf(served.context));
      const named = config.connections.targets;
      const kept = new Set<string>();
      for (const target of named.keys()) if (await this.#renewed(parent, served, target)) kept.add(target);
      // Those of now: a door may have been asked for meanwhile, or the whole context forgotten.
      if (this.#served.get(parent) === served)
        await doors.retain(parent, new Set([...kept, ...served.inline]));
    } catch (error) {
      log.warn({ parent, err: asFailure(error).data }, 'target sockets stay as they are');
    }
  }

  /** Where an inline target leads may be known to a control plane that cannot be asked just now: its door stays as it is then. Never rejects. */
  async #syncInline(parent: string): Promise<void> {
    const served = this.#served.get(parent);
    if (served === undefined || this.#abort.signal.aborted) return;
    await Promise.all([...served.inline].map((target) => this.#renewed(parent, served, target)));
  }

  /** False when the target cannot be resolved. What is nothing of the target's own, such as an engine that hangs, passes: it is tried again. */
  async #renewed(parent: string, served: Served, target: string): Promise<boolean> {
    try {
      const made = await this.#make(served.context, target);
      // It may have been forgotten meanwhile: nobody would look after its doors.
      if (this.#served.get(parent) !== served) return false;
      await this.#options.doors.ensure({ target, parent, ...made });
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
  async #make(context: Context, target: string): Promise<Pick<DoorSpec, 'plan' | 'order'>> {
    this.#made += 1;
    const order = this.#made;
    const request: StreamRequest = { ...requestOf(context), target, policy: false };
    const id = `door-${order.toString(36)}`;
    const plan = await prepare(request, id, this.#options, () => this.#abort.signal);
    return { order, plan: { ...plan, budgetMs: plan.target.connectTimeoutMs } };
  }

  #contextOf({ env, cwd, slot }: StreamRequest): Context {
    const { own } = this.#options;
    return { env: env ?? own.env, cwd: cwd ?? (env === undefined ? own.cwd : undefined), slot };
  }

  #parentOf({ env, cwd, slot }: Context): string {
    const { own, dir } = this.#options;
    const { key } = contextInputs(env, cwd, slot);
    if (key === contextInputs(own.env, own.cwd, undefined).key) return this.#ownParent;
    return join(dir, `targets-${createHash('sha256').update(key).digest('hex').slice(0, 8)}`);
  }

  async #parents(): Promise<string[]> {
    const { dir } = this.#options;
    const names = await readdir(dir).catch((): string[] => []);
    return names.filter((name) => DOORS_FOLDER.test(name)).map((name) => join(dir, name));
  }

  /** What a daemon that was killed has left, in contexts that are still known and in others. Never rejects. */
  async #sweepAll(): Promise<void> {
    for (const parent of await this.#parents()) {
      await sweepDoors(parent).catch((error: unknown) => {
        this.#options.log.warn({ parent, err: asFailure(error).data }, 'sweeping target sockets');
      });
    }
  }
}

/** A caller that has no agent, such as a job of cron, takes nobody else's away. */
function withAgentOf(before: Pick<Context, 'env'> | undefined, now: Context): Context {
  const agent = now.env.SSH_AUTH_SOCK ?? before?.env.SSH_AUTH_SOCK;
  return agent === undefined ? now : { ...now, env: { ...now.env, SSH_AUTH_SOCK: agent } };
}

function servedFor(context: Context, inline: readonly string[] = []): Served {
  const { key } = contextInputs(context.env, context.cwd, context.slot);
  return { key, context, inline: new Set(inline) };
}

function requestOf({ env, cwd, slot }: Context): Pick<StreamRequest, 'env' | 'slot' | 'cwd'> {
  return { env, ...(cwd === undefined ? {} : { cwd }), ...(slot === undefined ? {} : { slot }) };
}
