// Contexts: what a caller's environment resolves to. Each has its own config in force and its own watchers; the least recently used go.
import { Failure, textOf } from '../base/failure.ts';
import type { Logger } from '../base/log.ts';
import type { BmuxPaths, Env } from '../base/paths.ts';
import { ConfigSource, type CallerFacts, type CurrentConfig } from '../config/source.ts';
import { watchFiles, type FileWatch } from '../config/watch.ts';
import type { BrokerEvent, ContextRow, StatusProblem } from '../wire/answers.ts';
import type { BmuxConfig } from '../wire/config-types.ts';
import type { CallerEnv, StreamRequest } from '../wire/request.ts';
import { contextInputs, type ContextInputs } from './context-key.ts';

/** What a request sees of its context: one consistent view. */
export interface View {
  readonly env: CallerEnv;
  readonly paths: BmuxPaths;
  readonly config: BmuxConfig;
  readonly slot: string | undefined;
  readonly warnings: readonly string[];
}

interface Context {
  readonly key: string;
  readonly paths: BmuxPaths;
  readonly source: ConfigSource;
  readonly watch: FileWatch;
  /** The files that are watched, as one text. */
  watched: string;
  slot: string | undefined;
  /** The last problem of its files, kept for the status while the last good config (or none) is in force. */
  problem: Failure | undefined;
  targets: number;
}

export interface ContextsOptions {
  /** The daemon's own environment: asked for variables in config values that the caller's whitelist does not hold. */
  readonly env: Env;
  /** The context of requests that carry no environment, and its working directory. */
  readonly own: CallerEnv;
  readonly cwd: string;
  readonly max: () => number;
  /** True for a context that must stay watched, asked for or not: it has target sockets. */
  readonly isPinned: (key: string) => boolean;
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
  readonly #contexts = new Map<string, Context>();
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
    const context = this.#context(contextInputs(this.#options.own, this.#options.cwd, undefined));
    await this.#refresh(context);
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
    const context = this.#context(inputs);
    const current = await this.#current(context, { cwd, term: env.TERM }).finally(() => {
      // Also what was read in vain: it may be mended.
      this.#watchWhatIsRead(context);
    });
    const held =
      current.problem === undefined ? [] : [`${current.problem.message}; the last good config is in force`];
    return {
      env,
      paths: context.paths,
      config: current.config,
      slot: current.slot?.name,
      warnings: [...current.warnings, ...held],
    };
  }

  rows(): ContextRow[] {
    return [...this.#contexts.values()].map((context) => ({
      key: context.key,
      runtimeDir: context.paths.runtimeDir,
      ...(context.slot === undefined ? {} : { slot: context.slot }),
      files: context.source.files(),
      targets: context.targets,
    }));
  }

  problems(): StatusProblem[] {
    return [...this.#contexts.values()].flatMap((context) =>
      context.problem === undefined
        ? []
        : [{ where: context.paths.runtimeDir, failure: context.problem.data }],
    );
  }

  /** Reads every context's files anew. What is broken leaves the last good config in force. */
  async reload(): Promise<void> {
    await Promise.all([...this.#contexts.values()].map((context) => this.#refresh(context)));
  }

  /** Ends all watchers. */
  async close(): Promise<void> {
    this.#closed = true;
    const contexts = [...this.#contexts.values()];
    this.#contexts.clear();
    await Promise.all(contexts.map((context) => context.watch.close()));
  }

  #context(inputs: ContextInputs): Context {
    const { key, paths, env, cwd, slot } = inputs;
    const known = this.#contexts.get(key);
    if (known !== undefined) {
      this.#contexts.delete(key);
      this.#contexts.set(key, known);
      return known;
    }
    const source = new ConfigSource({ env, paths, slot, cwd, daemon: this.#options.env });
    const context: Context = {
      key,
      paths,
      source,
      watched: '',
      slot: undefined,
      problem: undefined,
      targets: 0,
      watch: watchFiles({
        files: () => [...source.files(), paths.serverMeta, paths.authState],
        onChange: () => {
          this.#options.event({ type: 'config changed', detail: paths.runtimeDir });
          void this.#refresh(context);
        },
        log: (message) => {
          this.#options.log.warn({ runtimeDir: paths.runtimeDir }, message);
        },
      }),
    };
    if (this.#closed) this.#forget(context);
    else this.#contexts.set(key, context);
    this.#evict();
    return context;
  }

  /** The daemon's own context stays: the status speaks of it. So do those that are pinned. */
  #evict(): void {
    const { isPinned, max } = this.#options;
    const loose = [...this.#contexts.values()].filter(({ key }) => key !== this.#ownKey && !isPinned(key));
    const surplus = loose.length + 1 - max();
    for (const context of loose.slice(0, Math.max(0, surplus))) this.#forget(context);
  }

  #forget(context: Context): void {
    if (this.#contexts.get(context.key) === context) this.#contexts.delete(context.key);
    context.watch.close().catch((error: unknown) => {
      this.#options.log.warn({ err: textOf(error) }, 'closing a watcher');
    });
  }

  /** Never rejects. */
  async #refresh(context: Context): Promise<void> {
    try {
      await this.#current(context, {});
    } catch (error) {
      if (!(error instanceof Failure))
        this.#options.log.error({ runtimeDir: context.paths.runtimeDir, err: textOf(error) }, 'config');
    }
    this.#watchWhatIsRead(context);
    if (!this.#closed) this.#options.onChange();
  }

  /** The config in force for a caller, after a look at the files; keeps what the status shows. */
  async #current(context: Context, facts: CallerFacts): Promise<CurrentConfig> {
    try {
      const current = await context.source.current(facts);
      this.#note(context, current.problem);
      context.slot = current.slot?.name;
      context.targets = current.config.connections.targets.size;
      return current;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const cause = error.cause instanceof Failure ? error.cause.code : error.code;
      // What only this caller's environment names wrongly is told to this caller: it is no state of the daemon, and not worth watchers.
      const stays = context.key === this.#ownKey || this.#options.isPinned(context.key);
      if (OF_THE_CALLER.has(cause) && !stays) this.#forget(context);
      else this.#note(context, error);
      throw error;
    }
  }

  #note(context: Context, problem: Failure | undefined): void {
    const { log, event } = this.#options;
    const { runtimeDir } = context.paths;
    const before = context.problem;
    context.problem = problem;
    if (problem === undefined) {
      if (before !== undefined) log.info({ runtimeDir }, 'config is good again');
      return;
    }
    const { code, detail, causes } = problem.data;
    if (
      before !== undefined &&
      JSON.stringify([before.data.detail, before.data.causes]) === JSON.stringify([detail, causes])
    )
      return;
    log.warn({ runtimeDir, code, detail, causes }, 'config is broken; the last good one stays in force');
    event({ type: 'config broken', code, detail: [detail, ...causes].join('\n') });
  }

  /** A reading may have named other files than the last one. */
  #watchWhatIsRead(context: Context): void {
    const files = context.source.files().join('\0');
    if (files === context.watched) return;
    context.watched = files;
    context.watch.refresh();
  }
}
