// How long to wait before the next start of an engine, and when ends are so frequent that a person should know.
import type { Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';

/** ms before each further start when ready engines end soon after their start. The first restart is immediate, and the next engine is ready within a second. */
const BACKOFF_MS = [0, 100, 200, 250] as const;
/** The same for engines that do not become ready. The cause usually needs the user, and each attempt costs a process start. */
const FAILING_BACKOFF_MS = [0, 100, 300, 500, 2000, 5000, 15_000, 30_000] as const;
/** ms after its start from which the end of an engine no longer counts as a failed start. */
const HEALTHY_MS = 10_000;
/** Ends soon after a start that are told. */
const TOLD = 3;

export class StartBackoff {
  #failures = 0;
  /** How the last engine ended. */
  #why = '';

  /** ms to wait now that an engine has ended or hangs. `livedMs`: since its start; undefined when its process could not be started. */
  next(last: { readonly wasReady: boolean; readonly livedMs: number | undefined }, why: string): number {
    const { wasReady, livedMs } = last;
    const healthy = wasReady && livedMs !== undefined && livedMs > HEALTHY_MS;
    this.#failures = healthy ? 0 : this.#failures + 1;
    this.#why = why;
    const steps = wasReady ? BACKOFF_MS : FAILING_BACKOFF_MS;
    return steps[Math.min(healthy ? 0 : this.#failures - 1, steps.length - 1)] ?? 0;
  }

  /** What a person should know. `readyMs`: how long ago the engine was started that is ready; undefined without one. */
  problem(readyMs: number | undefined): Failure | undefined {
    if (this.#failures < TOLD || (readyMs !== undefined && readyMs > HEALTHY_MS)) return undefined;
    return fail('engine_crashes', { count: this.#failures, why: this.#why });
  }
}
