// The next start of an engine: when it comes, what hinders it, and why no engine is ready until then.
import type { Failure } from '../../../base/failure.ts';
import type { EngineSupervisorOptions } from '../supervisor-options.ts';
import { StartBackoff, type Ended } from './backoff.ts';

/** ms between two looks whether what hinders a start is over. */
const HINDERED_LOOK_MS = 250;

export interface NextStartOptions extends Pick<
  EngineSupervisorOptions,
  'clock' | 'log' | 'runtimeDir' | 'refusal' | 'onTrouble'
> {
  readonly startEngine: () => void;
}

export class NextStart {
  readonly #options: NextStartOptions;
  readonly #backoff = new StartBackoff();
  #cancel: () => void = () => undefined;
  #isClosed = false;
  /** Whether the log says that engines end or hang soon after their start, again and again. */
  #isTold = false;
  #problem: Failure | undefined;

  constructor(options: NextStartOptions) {
    this.#options = options;
  }

  /** Why the last engine ended, or why none is started; undefined before the first end. */
  get problem(): Failure | undefined {
    return this.#problem;
  }

  /** Whether the start under way has got more time because its process gets no CPU. */
  get isSlow(): boolean {
    return this.#backoff.isSlow;
  }

  /** Set while engines end soon after their start, again and again. `readyMs`: how long ago the ready one was started. */
  crashes(readyMs: number | undefined): Failure | undefined {
    return this.#backoff.problem(readyMs);
  }

  /** Gives the start of the process `pid` its time, and calls `late` after it. See `StartBackoff.watch`. */
  watch(pid: number | undefined, late: (ms: number) => void): () => void {
    return this.#backoff.watch(pid, late);
  }

  /** Plans the next start after the end of an engine. */
  after(last: Ended, problem: Failure, why: string): void {
    if (this.#isClosed) return;
    const waitMs = this.#backoff.next(last, why);
    const crashes = this.#backoff.problem(undefined);
    if (crashes !== undefined && !this.#isTold)
      this.#options.log.error({ why: crashes.message, remedy: crashes.data.remedy }, 'engines do not last');
    this.#isTold = crashes !== undefined;
    this.#problem = (last.isHanging ? crashes : undefined) ?? problem;
    this.#options.onTrouble();
    this.#startAfter(waitMs);
  }

  /** What has delayed the next start may be over: it comes now. */
  now(): void {
    this.#startAfter(0);
  }

  /** There is no further start. */
  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  #startAfter(ms: number): void {
    this.#cancel();
    if (this.#isClosed) return;
    this.#cancel = this.#options.clock.after(ms, () => {
      const [{ runtimeDir, log, startEngine }, why] = [this.#options, this.#options.refusal()];
      if (why !== undefined && why.code !== this.#problem?.code)
        log.warn({ code: why.code, why: why.message }, 'no engine is started');
      this.#problem = why ?? this.#problem;
      if (why !== undefined || runtimeDir.isAway) this.#startAfter(HINDERED_LOOK_MS);
      else startEngine();
    });
  }
}
