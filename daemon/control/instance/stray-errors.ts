// Errors of control that no code catches. Control goes on after them: an error of one lookup must not end the daemon. It logs and counts them,
// and the status names them. It exits when it does not answer any more, or when exceptions come too often to be the fault of one request.
import type { Clock } from '../../base/async/clock.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import { fail } from '../../errors/fail.ts';

/** ms after the last error during which the daemon is `degraded`. */
const SHOWN_MS = 10 * 60_000;
/** Exceptions within `WINDOW_MS` after which control exits, so that a service manager starts it afresh. */
const MOST_EXCEPTIONS = 20;
const WINDOW_MS = 60_000;
/** Errors that are logged in `WINDOW_MS`. Further ones are counted only. */
const MOST_LOGGED = 10;

/** The events of `process` that are listened to. */
type Source = Pick<NodeJS.EventEmitter, 'on'>;

export interface StrayErrorsOptions {
  readonly source: Source;
  readonly clock: Clock;
  readonly log: Logger;
  /** Asked after each exception whether control answers on its instance socket. */
  readonly instance: { isAnswering(): Promise<boolean> };
}

export class StrayErrors {
  /** Rejects with the reason why control must exit. */
  readonly broken: Promise<never>;
  readonly #options: StrayErrorsOptions;
  #rejectBroken: (why: Failure) => void = () => {};
  /** Times of the latest exceptions and of the latest logged errors, oldest first. */
  #exceptions: number[] = [];
  #logged: number[] = [];
  #count = 0;
  #last: { readonly atMs: number; readonly why: string } | undefined;
  #asking = false;
  #over = false;

  /** Listens as long as the process lives: an error while control closes must not cut that short. */
  constructor(options: StrayErrorsOptions) {
    this.#options = options;
    this.broken = new Promise((_resolve, reject) => {
      this.#rejectBroken = reject;
    });
    // The start may still be under way, and nothing waits yet.
    this.broken.catch(() => undefined);
    options.source.on('unhandledRejection', this.#onRejection);
    options.source.on('uncaughtException', this.#onException);
  }

  /** A cause of `degraded`, for a while after the last error. */
  get problem(): Failure | undefined {
    const { clock } = this.#options;
    if (this.#last === undefined || clock.now() - this.#last.atMs > SHOWN_MS) return undefined;
    return fail('control_error', { why: this.#last.why, count: this.#count });
  }

  readonly #onRejection = (reason: unknown): void => {
    this.#record(reason, 'a rejection that nothing handles');
  };

  readonly #onException = (error: unknown): void => {
    const { clock } = this.#options;
    this.#record(error, 'an exception that nothing catches');
    this.#exceptions = within(this.#exceptions, clock.now());
    this.#exceptions.push(clock.now());
    if (this.#exceptions.length >= MOST_EXCEPTIONS) this.#giveUp();
    else void this.#ask();
  };

  #record(error: unknown, what: string): void {
    const { clock, log } = this.#options;
    const atMs = clock.now();
    const why = textOf(error);
    this.#count += 1;
    this.#last = { atMs, why };
    this.#logged = within(this.#logged, atMs);
    if (this.#logged.length >= MOST_LOGGED) return;
    this.#logged.push(atMs);
    const stack = error instanceof Error ? error.stack : undefined;
    log.error({ code: 'control_error', err: why, stack, count: this.#count }, what);
  }

  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const answers = await this.#options.instance.isAnswering().catch(() => false);
    this.#asking = false;
    if (!answers) this.#giveUp();
  }

  #giveUp(): void {
    if (this.#over) return;
    this.#over = true;
    const why = fail('control_broken', { count: this.#count, why: this.#last?.why ?? '' });
    this.#options.log.fatal({ code: why.code, why: why.message }, 'control gives up');
    this.#rejectBroken(why);
  }
}

function within(times: readonly number[], now: number): number[] {
  return times.filter((atMs) => now - atMs < WINDOW_MS);
}
