// All contexts of the daemon, each with its own config, and their files. Beyond `contexts.max` the least recently used ones are forgotten.
import type { Clock } from '../../base/async/clock.ts';
import { Failure, textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxPaths, Env } from '../../base/paths.ts';
import type { ConfigValue } from '../../config/files/origins.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import { factsKey, type CallerFacts, type CurrentConfig } from '../../config/bmux/source.ts';
import type { BrokerEvent, ContextRow, StatusProblem } from '../../api/answers.ts';
import type { BmuxConfig } from '../../config/bmux/types.ts';
import type { CallerEnv, StreamRequest } from '../../api/request.ts';
import { Context } from './context.ts';
import type { TrustChange } from '../../engine-protocol/messages.ts';
import { ContextFiles } from './context-files.ts';
import { contextInputs, type ContextInputs } from './context-key.ts';
import { KnownTargets } from './known-targets.ts';

/** A consistent snapshot of a context, for one request. */
export interface View {
  readonly env: CallerEnv;
  readonly paths: BmuxPaths;
  readonly config: BmuxConfig;
  readonly slot: string | undefined;
  readonly warnings: readonly string[];
  /** The values that the files set, with their origins, and all files that were looked for. */
  readonly values: () => readonly ConfigValue[];
  readonly files: readonly string[];
  /** Name of the context (daemon/control/contexts/context-key.ts). */
  readonly context: string;
  /** Variables of the environment that the files read, with their values. */
  readonly reads: Reads;
  /** True when the config is another one in another working directory or terminal. */
  readonly dependsOnCaller: boolean;
  /** True when the config has had a target with this name while this daemon runs. */
  readonly hasHad: (name: string) => boolean;
}

export interface ContextsOptions {
  /** The daemon's own environment. It supplies variables in config values that clients do not send. */
  readonly env: Env;
  /** Environment and folder for requests that name none. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
  readonly max: () => number;
  readonly clock: Clock;
  /** True when a context must stay open, because clients with this key for whose environment `agrees` is true have target sockets. */
  readonly isPinned: (key: string, agrees: (env: CallerEnv) => boolean) => boolean;
  /** Called when the files of the contexts with this key (daemon/control/contexts/context-key.ts) were read again. */
  readonly onChange: (key: string) => void;
  /** See `ContextOptions`. */
  readonly onTrustChange?: (change: TrustChange) => void;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

/** Failures that can be caused by a wrong variable or slot of one caller. */
const OF_THE_CALLER: ReadonlySet<string> = new Set([
  'slot_unknown',
  'slot_variable_unset',
  'config_missing',
  'file_unreadable',
]);

export class Contexts {
  readonly #options: ContextsOptions;
  /** The least recently used first. */
  #contexts: Context[] = [];
  /** The files of the contexts with one key, by key. */
  readonly #files = new Map<string, ContextFiles>();
  /** Key of the daemon's own context. */
  readonly ownKey: string;
  /** Results of `inputsOf`, by request. Equal headers give the same request object (daemon/control/planning/request-planner.ts). */
  readonly #inputs = new WeakMap<object, ContextInputs>();
  readonly #known = new KnownTargets();
  #closed = false;

  constructor(options: ContextsOptions) {
    this.#options = options;
    this.ownKey = contextInputs(options.own.env, options.own.cwd, undefined).key;
  }

  /** Reads and watches the files of the daemon's own context, so that the status shows their problems at once. Never rejects. */
  async openOwn(): Promise<void> {
    const { env, cwd } = this.#options.own;
    const known = this.#contexts.findLast((one) => one.key === this.ownKey && one.source.agrees(env));
    await this.#refresh([known ?? this.#open(contextInputs(env, cwd, undefined))]);
  }

  /** The key and the paths that a request's environment resolves to. */
  inputsOf(request: Pick<StreamRequest, 'env' | 'slot' | 'cwd'>): ContextInputs {
    const known = this.#inputs.get(request);
    if (known !== undefined) return known;
    const { own } = this.#options;
    const { env, cwd, slot } = request;
    const inputs = contextInputs(env ?? own.env, cwd ?? (env === undefined ? own.cwd : undefined), slot);
    this.#inputs.set(request, inputs);
    return inputs;
  }

  /**
   * The view for a request. `inputs`: the result of `inputsOf` for it, where it is known already. Rejects with the failure of the slot or
   * the config when there is no last good config to use instead.
   */
  async view(
    request: Pick<StreamRequest, 'env' | 'slot' | 'cwd'>,
    inputs = this.inputsOf(request),
  ): Promise<View> {
    const { own } = this.#options;
    const env = request.env ?? own.env;
    const cwd = request.cwd ?? (request.env === undefined ? own.cwd : undefined);
    const facts = { cwd, term: env.TERM };
    const { context, current } = await this.#find(inputs, facts);
    const held =
      current.problem === undefined ? [] : [`${current.problem.message}; the last good config is in force`];
    return {
      env,
      paths: inputs.paths,
      config: current.config,
      slot: current.slot?.name,
      warnings: [...current.warnings, ...held],
      values: current.values,
      files: context.source.files(),
      context: context.nameFor(current.reads),
      reads: current.reads,
      dependsOnCaller: current.facts !== '',
      hasHad: (name) => this.#known.has(name, { key: inputs.key, env, facts: factsKey(facts) }),
    };
  }

  /**
   * The context whose config is valid for this environment. Only a reading shows which variables the files use, so existing contexts are
   * tried in turn. When a reading uses a variable that has another value here, the context has no config for this environment, and the
   * next one is tried. A new context always has one.
   */
  async #find(
    inputs: ContextInputs,
    facts: CallerFacts,
  ): Promise<{ readonly context: Context; readonly current: CurrentConfig }> {
    const { key, env } = inputs;
    const tried: Context[] = [];
    for (;;) {
      const known = this.#contexts.findLast(
        (one) => one.key === key && !tried.includes(one) && one.source.agrees(env),
      );
      if (known !== undefined) this.#used(known);
      const context = known ?? this.#open(inputs);
      tried.push(context);
      const current = await this.#current(context, context.source.currentFor(env, facts)).finally(() => {
        // The files are watched after a failure too, to notice when they are corrected.
        context.watchWhatIsRead();
      });
      // Whether a context is pinned depends on what it has read, so a new one can be judged only now.
      if (known === undefined) this.#evict();
      if (current !== undefined) return { context, current };
    }
  }

  rows(): ContextRow[] {
    return this.#contexts.map((context) => context.row());
  }

  /** Those of all contexts. Contexts of one runtime dir that read the same broken file have one together. */
  problems(): StatusProblem[] {
    const all = this.#contexts.flatMap((context) => context.problems());
    return [...new Map(all.map((problem) => [JSON.stringify(problem), problem])).values()];
  }

  /** Reads the files of every context again. A broken config leaves the last good one in force. */
  async reload(): Promise<void> {
    for (const { config } of this.#files.values()) config.renew();
    await this.#refresh(this.#contexts);
  }

  /** Closes all contexts with their watchers. */
  async close(): Promise<void> {
    this.#closed = true;
    const files = [...this.#files.values()];
    this.#contexts = [];
    this.#files.clear();
    await Promise.all(files.map((one) => one.close()));
  }

  #used(context: Context): void {
    if (this.#contexts.at(-1) === context) return;
    this.#contexts = [...this.#contexts.filter((one) => one !== context), context];
  }

  #open(inputs: ContextInputs): Context {
    const beside = this.#contexts.findLast(({ key }) => key === inputs.key);
    const { env: daemon, event, log, onTrustChange = () => undefined } = this.#options;
    const files = this.#filesOf(inputs);
    const known = this.#known;
    const context = new Context({ inputs, daemon, files, known, beside, onTrustChange, event, log });
    if (this.#closed) this.#forget(context);
    else this.#contexts.push(context);
    this.#evict();
    return context;
  }

  #evict(): void {
    const loose = this.#contexts.filter((context) => !this.#stays(context));
    const surplus = loose.length + 1 - this.#options.max();
    for (const context of loose.slice(0, Math.max(0, surplus))) this.#forget(context);
  }

  /**
   * True for contexts that are never evicted: the daemon's own one, since the status shows it, and pinned ones. When the files no longer
   * read the variables in which contexts differ, these become equal. Then only the last one is used, and only that one stays.
   */
  #stays({ key, env, source }: Context): boolean {
    const { isPinned, own } = this.#options;
    const known = this.#contexts.filter((one) => one.key === key && one.source.reads !== undefined);
    const used = known.findLast((one) => one.source.agrees(env));
    if (used !== undefined && used.source !== source) return false;
    return (key === this.ownKey && source.agrees(own.env)) || isPinned(key, (other) => source.agrees(other));
  }

  #forget(context: Context): void {
    const { key } = context;
    this.#contexts = this.#contexts.filter((one) => one !== context);
    const files = this.#files.get(key);
    if (this.#withKey(key).length > 0) files?.refresh();
    else {
      this.#files.delete(key);
      void files?.close();
    }
  }

  #withKey(key: string): Context[] {
    return this.#contexts.filter((context) => context.key === key);
  }

  #filesOf({ key, paths }: ContextInputs): ContextFiles {
    const known = this.#files.get(key);
    if (known !== undefined) return known;
    const files = new ContextFiles({
      ...this.#options,
      paths,
      files: () => this.#withKey(key).flatMap(({ source }) => source.files()),
      onChange: () => {
        void this.#refresh(this.#withKey(key));
      },
    });
    this.#files.set(key, files);
    return files;
  }

  /** Reads the files of these contexts again, and calls `onChange` with their keys. Never rejects. */
  async #refresh(contexts: readonly Context[]): Promise<void> {
    await Promise.all(contexts.map((context) => this.#readAgain(context)));
    if (this.#closed) return;
    for (const key of new Set(contexts.map((context) => context.key))) this.#options.onChange(key);
  }

  async #readAgain(context: Context): Promise<void> {
    try {
      await this.#current(context, context.source.current());
    } catch (error) {
      if (!(error instanceof Failure))
        this.#options.log.error({ runtimeDir: context.paths.runtimeDir, err: textOf(error) }, 'config');
    }
    context.watchWhatIsRead();
  }

  /** Awaits what the source of a context answers, and keeps for the status what it shows. Rejects as `answer` does. */
  async #current<T extends CurrentConfig | undefined>(context: Context, answer: Promise<T>): Promise<T> {
    try {
      const current = await answer;
      if (current !== undefined) context.noteAnswer(current);
      return current;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const cause = error.cause instanceof Failure ? error.cause.code : error.code;
      // A mistake in the caller's environment is reported to that caller only. It is no problem of the daemon and needs no watchers.
      if (OF_THE_CALLER.has(cause) && !this.#stays(context)) this.#forget(context);
      else context.noteProblem(error);
      throw error;
    }
  }
}
