// One context: its config, and its row and problems in the status.
import type { Failure } from '../../base/failure.ts';
import { classOf } from '../../errors/error-class.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxPaths, Env } from '../../base/paths.ts';
import type { TlsTrust } from '../../config/bmux/types.ts';
import type { Reads } from '../../config/bmux/reads.ts';
import { ConfigSource, type CurrentConfig } from '../../config/bmux/source.ts';
import type { TrustChange } from '../../engine-protocol/messages.ts';
import { lostPins } from '../../target/tls-trust.ts';
import type { BrokerEvent, ContextRow, StatusProblem } from '../../api/answers.ts';
import type { CallerEnv } from '../../api/request.ts';
import type { ContextFiles } from './context-files.ts';
import { contextName, type ContextInputs } from './context-key.ts';
import type { KnownTargets } from './known-targets.ts';

export interface ContextOptions {
  readonly inputs: ContextInputs;
  readonly daemon: Env;
  /** The files of all contexts with this key. */
  readonly files: ContextFiles;
  readonly known: KnownTargets;
  /** Another context with the same key, whose environment differs in a variable that the files read. */
  readonly beside: Context | undefined;
  /** Called when the trust in gateways has changed: `connections.tls_trust`, or the store of known gateways. */
  readonly onTrustChange: (change: TrustChange) => void;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

/** Shared by all callers with the same key whose environments agree in all variables that the files read. */
export class Context {
  readonly key: string;
  readonly env: CallerEnv;
  readonly paths: BmuxPaths;
  readonly source: ConfigSource;
  readonly #options: Omit<ContextOptions, 'inputs' | 'beside'>;
  /** Paths of the watched files, joined with NUL. */
  #watched = '';
  #slot: string | undefined;
  #targets = 0;
  /** The trust in gateways of the last answer, and its text for comparison. */
  #trust: { readonly trust: TlsTrust | undefined; readonly text: string } | undefined;
  /** The last result of `nameFor`. */
  #name: { readonly reads: Reads; readonly text: string } | undefined;
  /** The problem found by the last reading of the files; undefined when it found none. */
  #problem: Failure | undefined;

  constructor(options: ContextOptions) {
    const { inputs, beside, ...others } = options;
    const { daemon, files } = others;
    const { key, paths, env, cwd, slot } = inputs;
    this.#options = others;
    this.key = key;
    this.env = env;
    this.paths = paths;
    this.source = new ConfigSource({
      env,
      paths,
      files: files.config,
      slot,
      cwd,
      daemon,
      beside: beside?.source,
    });
  }

  /** The name of this context for these variables. The last result is cached, since most requests have the same `reads`. */
  nameFor(reads: Reads): string {
    if (this.#name?.reads !== reads) this.#name = { reads, text: contextName(this.key, reads) };
    return this.#name.text;
  }

  /** Keeps slot, number of targets and problem for the status, and the names of the targets. */
  noteAnswer(current: CurrentConfig): void {
    const { problem, slot, config } = current;
    this.#options.known.add(this.key, current);
    this.noteProblem(problem);
    this.#slot = slot?.name;
    this.#targets = config.connections.targets.size;
    this.#noteTrust(config.connections.tlsTrust);
  }

  #noteTrust(trust: TlsTrust | undefined): void {
    const before = this.#trust;
    if (before !== undefined && before.trust === trust) return;
    const { mode, declared, store } = trust ?? {};
    const text = JSON.stringify([mode, [...(declared ?? [])], [...(store?.pins ?? [])]]);
    this.#trust = { trust, text };
    if (before?.trust === undefined || before.text === text) return;
    const gateways = lostPins(before.trust, trust);
    this.#options.onTrustChange({ store: before.trust.store.path, gateways });
  }

  /** Keeps the problem for the status. A problem that differs from the last one is logged and reported as an event. */
  noteProblem(problem: Failure | undefined): void {
    const { log, event } = this.#options;
    const { runtimeDir } = this.paths;
    const before = this.#problem;
    this.#problem = problem;
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
    event({
      type: 'config broken',
      code,
      class: classOf(problem.data),
      detail: [detail, ...causes].join('\n'),
    });
  }

  /** Watches the files of the last reading, which may differ from those before. */
  watchWhatIsRead(): void {
    const files = this.source.files().join('\0');
    if (files === this.#watched) return;
    this.#watched = files;
    this.#options.files.refresh();
  }

  row(): ContextRow {
    return {
      key: this.nameFor(this.source.reads ?? new Map()),
      runtimeDir: this.paths.runtimeDir,
      ...(this.#slot === undefined ? {} : { slot: this.#slot }),
      files: this.source.files(),
      targets: this.#targets,
    };
  }

  problems(): StatusProblem[] {
    if (this.#problem === undefined) return [];
    return [{ where: this.paths.runtimeDir, failure: this.#problem.data }];
  }
}
