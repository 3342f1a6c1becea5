// Contexts: what the environments of callers resolve to. Each has its own config in force and its own watchers. The least recently used are closed.
import { Failure, textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxPaths, Env } from '../../base/paths.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import type { CallerFacts, CurrentConfig } from '../../config/bmux/source.ts';
import type { BrokerEvent, ContextRow, StatusProblem } from '../../api/answers.ts';
import type { BmuxConfig } from '../../config/bmux/types.ts';
import type { CallerEnv, StreamRequest } from '../../api/request.ts';
import { Context } from './context.ts';
import { contextInputs, type ContextInputs } from './context-key.ts';

/** What a request sees of its context, all of one moment. */
export interface View {
  readonly env: CallerEnv;
  readonly paths: BmuxPaths;
  readonly config: BmuxConfig;
  readonly slot: string | undefined;
  readonly warnings: readonly string[];
  /** Name of the context (daemon/control/contexts/context-key.ts). */
  readonly context: string;
  /** Variables that the files read of the environment, with their values. */
  readonly reads: Reads;
}

export interface ContextsOptions {
  /** The daemon's own environment, for variables in config values that are not in the caller's whitelist. */
  readonly env: Env;
  /** Environment and folder of requests that name none. */
  readonly own: CallerEnv;
  readonly cwd: string;
  readonly max: () => number;
  /** True for a context that must stay watched: one of the environments with this key that agree with it has target sockets. */
  readonly isPinned: (key: string, agrees: (env: CallerEnv) => boolean) => boolean;
  /** The files with this key (daemon/control/contexts/context-key.ts) have changed, or were read again. */
  readonly onChange: (key: string) => void;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

/** Failures that a misspelt variable or slot of one caller can cause. */
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
  /** Key of the daemon's own context. */
  readonly ownKey: string;
  /** By request: the same object comes again for the same header. */
  readonly #inputs = new WeakMap<object, ContextInputs>();
  #closed = false;

  constructor(options: ContextsOptions) {
    this.#options = options;
    this.ownKey = contextInputs(options.own, options.cwd, undefined).key;
  }

  /** Reads and watches the daemon's own context, so that the status shows problems of its files at once. Never rejects. */
  async openOwn(): Promise<void> {
    const { own, cwd } = this.#options;
    const known = this.#contexts.findLast((one) => one.key === this.ownKey && one.source.agrees(own));
    await this.#refresh(known ?? this.#open(contextInputs(own, cwd, undefined)));
  }

  /** What decides the context of a request, and where its files are. */
  inputsOf(request: Pick<StreamRequest, 'env' | 'slot' | 'cwd'>): ContextInputs {
    const known = this.#inputs.get(request);
    if (known !== undefined) return known;
    const { own, cwd: ownCwd } = this.#options;
    const { env, cwd, slot } = request;
    const inputs = contextInputs(env ?? own, cwd ?? (env === undefined ? ownCwd : undefined), slot);
    this.#inputs.set(request, inputs);
    return inputs;
  }

  /**
   * The view for a request. `inputs`: what `inputsOf` says of it, where the caller has that. Rejects with the failure of its slot or config when
   * there is no good config to fall back to.
   */
  async view(
    request: Pick<StreamRequest, 'env' | 'slot' | 'cwd'>,
    inputs = this.inputsOf(request),
  ): Promise<View> {
    const env = request.env ?? this.#options.own;
    const cwd = request.cwd ?? (request.env === undefined ? this.#options.cwd : undefined);
    const { context, current } = await this.#find(inputs, { cwd, term: env.TERM });
    const held =
      current.problem === undefined ? [] : [`${current.problem.message}; the last good config is in force`];
    return {
      env,
      paths: inputs.paths,
      config: current.config,
      slot: current.slot?.name,
      warnings: [...current.warnings, ...held],
      context: context.nameFor(current.reads),
      reads: current.reads,
    };
  }

  /**
   * The context whose config is right for this environment. Which variables decide is known only after a reading, so contexts are tried: one that has
   * begun to read a variable with another value here has no config for it, and the next is tried. A new context always has one.
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
        // Also after a failure: the files may be corrected.
        context.watchWhatIsRead();
      });
      // Only now it is known what it has read, and so whether it is pinned.
      if (known === undefined) this.#evict();
      if (current !== undefined) return { context, current };
    }
  }

  rows(): ContextRow[] {
    return this.#contexts.map((context) => context.row());
  }

  problems(): StatusProblem[] {
    return this.#contexts.flatMap((context) => context.problems());
  }

  /** Reads the files of every context again. A broken config leaves the last good one in force. */
  async reload(): Promise<void> {
    await Promise.all(this.#contexts.map((context) => this.#refresh(context)));
  }

  /** Ends all watchers. */
  async close(): Promise<void> {
    this.#closed = true;
    const contexts = this.#contexts;
    this.#contexts = [];
    await Promise.all(contexts.map((context) => context.close()));
  }

  #used(context: Context): void {
    if (this.#contexts.at(-1) === context) return;
    this.#contexts = [...this.#contexts.filter((one) => one !== context), context];
  }

  #open(inputs: ContextInputs): Context {
    const beside = this.#contexts.findLast(({ key }) => key === inputs.key);
    const { env: daemon, event, log } = this.#options;
    const onChange = (context: Context): void => {
      void this.#refresh(context);
    };
    const context = new Context({ inputs, daemon, beside, onChange, event, log });
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
   * The daemon's own context stays, since the status shows it, and so do pinned ones. Several contexts become equal when the files no longer read the
   * variables in which they differ; then only the last one is used, and only that one stays.
   */
  #stays({ key, env, source }: Context): boolean {
    const { isPinned, own } = this.#options;
    const known = this.#contexts.filter((one) => one.key === key && one.source.reads !== undefined);
    const used = known.findLast((one) => one.source.agrees(env));
    if (used !== undefined && used.source !== source) return false;
    return (key === this.ownKey && source.agrees(own)) || isPinned(key, (other) => source.agrees(other));
  }

  #forget(context: Context): void {
    this.#contexts = this.#contexts.filter((one) => one !== context);
    void context.close();
  }

  /** Never rejects. */
  async #refresh(context: Context): Promise<void> {
    try {
      await this.#current(context, context.source.current());
    } catch (error) {
      if (!(error instanceof Failure))
        this.#options.log.error({ runtimeDir: context.paths.runtimeDir, err: textOf(error) }, 'config');
    }
    context.watchWhatIsRead();
    if (!this.#closed) this.#options.onChange(context.key);
  }

  /** What the source of a context answers; keeps what the status shows. */
  async #current<T extends CurrentConfig | undefined>(context: Context, answer: Promise<T>): Promise<T> {
    try {
      const current = await answer;
      if (current !== undefined) context.noteAnswer(current);
      return current;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const cause = error.cause instanceof Failure ? error.cause.code : error.code;
      // A mistake in this caller's environment is told to this caller. It is no problem of the daemon, and needs no watchers.
      if (OF_THE_CALLER.has(cause) && !this.#stays(context)) this.#forget(context);
      else context.noteProblem(error);
      throw error;
    }
  }
}
