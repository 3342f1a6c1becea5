// Contexts: what a caller's environment resolves to. Each has its own config in force and its own watchers; the least recently used go.
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

/** What a request sees of its context: one consistent view. */
export interface View {
  readonly env: CallerEnv;
  readonly paths: BmuxPaths;
  readonly config: BmuxConfig;
  readonly slot: string | undefined;
  readonly warnings: readonly string[];
  /** Name of the context (daemon/control/contexts/context-key.ts). */
  readonly context: string;
  /** What the files made read of the environment. */
  readonly reads: Reads;
}

export interface ContextsOptions {
  /** The daemon's own environment: asked for variables in config values that the caller's whitelist does not hold. */
  readonly env: Env;
  /** The context of requests that carry no environment, and its working directory. */
  readonly own: CallerEnv;
  readonly cwd: string;
  readonly max: () => number;
  /** True for a context that must stay watched, asked for or not: one of the environments with this key that agree with it has target sockets. */
  readonly isPinned: (key: string, agrees: (env: CallerEnv) => boolean) => boolean;
  /** The files of a context have changed, or were read anew. */
  readonly onChange: () => void;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

/** Failures of a context that may come from a misspelt variable or slot alone. */
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
  readonly #ownKey: string;
  /** By request: the same one comes again (`requestIn`). */
  readonly #inputs = new WeakMap<object, ContextInputs>();
  #closed = false;

  constructor(options: ContextsOptions) {
    this.#options = options;
    this.#ownKey = contextInputs(options.own, options.cwd, undefined).key;
  }

  /** Reads and watches the daemon's own context, so that the status tells of its files before anybody asks for a stream. Never rejects. */
  async openOwn(): Promise<void> {
    const { own, cwd } = this.#options;
    const known = this.#contexts.findLast((one) => one.key === this.#ownKey && one.source.agrees(own));
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
   * The view for a request (and what `inputsOf` says of it, where that is known). Rejects with the failure of its slot or config when
   * there is no good one to fall back to.
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
   * The context whose answer is right for this environment. Which variables decide is known only from that answer, so it is found by asking: one
   * that has just begun to read a variable which is otherwise here has none, and the next is asked; a new one always has.
   */
  async #find(
    inputs: ContextInputs,
    facts: CallerFacts,
  ): Promise<{ readonly context: Context; readonly current: CurrentConfig }> {
    const { key, env } = inputs;
    const asked: Context[] = [];
    for (;;) {
      const known = this.#contexts.findLast(
        (one) => one.key === key && !asked.includes(one) && one.source.agrees(env),
      );
      if (known !== undefined) this.#used(known);
      const context = known ?? this.#open(inputs);
      asked.push(context);
      const current = await this.#current(context, context.source.currentFor(env, facts)).finally(() => {
        // Also what was read in vain: it may be mended.
        context.watchWhatIsRead();
      });
      // Before it had read anything it could have been one that stays.
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

  /** Reads every context's files anew. What is broken leaves the last good config in force. */
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
   * The daemon's own context stays: the status speaks of it. So do those that are pinned. Of several that would do since the files no longer read
   * what told them apart, the one that is asked: the last one.
   */
  #stays({ key, env, source }: Context): boolean {
    const { isPinned, own } = this.#options;
    const known = this.#contexts.filter((one) => one.key === key && one.source.reads !== undefined);
    const asked = known.findLast((one) => one.source.agrees(env));
    if (asked !== undefined && asked.source !== source) return false;
    return (key === this.#ownKey && source.agrees(own)) || isPinned(key, (other) => source.agrees(other));
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
    if (!this.#closed) this.#options.onChange();
  }

  /** What the source of a context answers; keeps what the status shows. */
  async #current<T extends CurrentConfig | undefined>(context: Context, asked: Promise<T>): Promise<T> {
    try {
      const current = await asked;
      if (current !== undefined) context.noteAnswer(current);
      return current;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const cause = error.cause instanceof Failure ? error.cause.code : error.code;
      // What only this caller's environment names wrongly is told to this caller: it is no state of the daemon, and not worth watchers.
      if (OF_THE_CALLER.has(cause) && !this.#stays(context)) this.#forget(context);
      else context.noteProblem(error);
      throw error;
    }
  }
}
