// NODE_OPTIONS of the daemon's environment, which may name a file that is gone. Node then ends before any code of the engine runs, so
// whether an engine starts with them shows only when one has been started.
import type { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { Env } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import { isScarcity, reasonIn } from './start/failure.ts';

/**
 * The states: given -> tried without (after a failed start) -> left out (an engine without them is ready) | kept (that one fails as well, so
 * they are not the cause). The last two stay until control ends.
 */
export class NodeOptions {
  readonly #env: Env;
  readonly #log: Pick<Logger, 'warn'>;
  #state: 'given' | 'tried without' | 'left out' | 'kept';
  #why = '';

  /** `env`: the daemon's own environment. */
  constructor(env: Env, log: Pick<Logger, 'warn'>) {
    this.#env = env;
    this.#log = log;
    this.#state = (env['NODE_OPTIONS'] ?? '') === '' ? 'kept' : 'given';
  }

  /** The environment for the next engine. */
  get env(): Env {
    if (this.#state === 'given' || this.#state === 'kept') return this.#env;
    return Object.fromEntries(Object.entries(this.#env).filter(([name]) => name !== 'NODE_OPTIONS'));
  }

  /** A cause of `degraded`: what they ask for is not done in the engine. */
  get problem(): Failure | undefined {
    return this.#state === 'left out' ? fail('node_options_unusable', { why: this.#why }) : undefined;
  }

  /** An engine has ended before it was ready, and has written this to stderr. */
  failed(stderr: string): void {
    if (isScarcity(stderr)) return;
    if (this.#state === 'given') {
      this.#state = 'tried without';
      this.#why = reasonIn(stderr);
    } else if (this.#state === 'tried without') this.#state = 'kept';
  }

  /** An engine is ready. */
  worked(): void {
    if (this.#state !== 'tried without') return;
    this.#state = 'left out';
    this.#log.warn({ code: 'node_options_unusable', why: this.#why }, 'the engine runs without NODE_OPTIONS');
  }
}
