// How long a start of an engine may take, how long to wait before the next one, and when ends are so frequent that a person should know.
import { onSilence } from '../../../base/async/deadline.ts';
import { monotonicMs } from '../../../base/async/monotonic.ts';
import type { Failure } from '../../../base/failure.ts';
import { LIMITS } from '../../../base/limits.ts';
import { watchCpu } from '../../../base/process/starved.ts';
import { advised, fail } from '../../../errors/fail.ts';

/** ms before each further start when ready engines end soon after their start. The first restart is immediate, and the next engine is ready within a second. */
const BACKOFF_MS = [0, 100, 200, 250] as const;
/** The same for engines that do not become ready. The cause usually needs the user, and each attempt costs a process start. */
const FAILING_BACKOFF_MS = [0, 100, 300, 500, 2000, 5000, 15_000, 30_000] as const;
/** The same for engines that hang. Each is a process of about 50 MB, may occupy a CPU, and is noticed only after some seconds. */
const HANGING_BACKOFF_MS = [0, 0, 2000, 5000, 15_000] as const;
/** ms after its start from which the end of an engine no longer counts as a failed start. */
const HEALTHY_MS = 10_000;
/** Ends soon after a start that are told. */
const TOLD = 3;

const HANGING_REMEDY =
  'Does something stop its processes (`kill -STOP`, a debugger), or hang a file system with folders of HOME or of bmuxd? It tries again by itself.';

/** An engine that has ended or hangs. */
export interface Ended {
  readonly wasReady: boolean;
  /** It is silent, and its process goes on. */
  readonly isHanging: boolean;
  /** ms since its start; undefined when its process could not be started. */
  readonly livedMs: number | undefined;
}

export class StartBackoff {
  #failures = 0;
  /** How the last engine ended. */
  #why = '';
  #isHanging = false;
  /** Starts that were given up because they took too long, since an engine was ready. */
  #late = 0;
  #isSlow = false;

  /** Whether the start under way has got more time because its process gets no CPU. */
  get isSlow(): boolean {
    return this.#isSlow;
  }

  /**
   * Gives a start its time: `LIMITS.engineStartMs`, twice as long after each that was late, and as long as the process `pid` gets no CPU; at most
   * `LIMITS.slowStartMs`. Then calls `late` with it, unless the returned function was called before.
   */
  watch(pid: number | undefined, late: (ms: number) => void): () => void {
    const since = monotonicMs();
    let stop: () => void = () => undefined;
    const wait = (ms: number): void => {
      const isStarved = watchCpu(pid);
      stop = onSilence(ms, () => {
        const tookMs = Math.round(monotonicMs() - since);
        const leftMs = LIMITS.slowStartMs - tookMs;
        this.#isSlow = leftMs > 0 && isStarved();
        if (this.#isSlow) wait(Math.min(LIMITS.engineStartMs, leftMs));
        else {
          this.#late += 1;
          late(tookMs);
        }
      });
    };
    this.#isSlow = false;
    wait(Math.min(LIMITS.slowStartMs, LIMITS.engineStartMs * 2 ** this.#late));
    return () => {
      stop();
    };
  }

  /** ms to wait now before the next start. */
  next({ wasReady, isHanging, livedMs }: Ended, why: string): number {
    const healthy = wasReady && livedMs !== undefined && livedMs > HEALTHY_MS;
    if (wasReady) this.#late = 0;
    this.#failures = healthy ? 0 : this.#failures + 1;
    this.#why = why;
    this.#isHanging = isHanging;
    const steps = isHanging ? HANGING_BACKOFF_MS : wasReady ? BACKOFF_MS : FAILING_BACKOFF_MS;
    return steps[Math.min(healthy ? 0 : this.#failures - 1, steps.length - 1)] ?? 0;
  }

  /** What a person should know. `readyMs`: how long ago the engine was started that is ready; undefined without one. */
  problem(readyMs: number | undefined): Failure | undefined {
    if (this.#failures < TOLD || (readyMs !== undefined && readyMs > HEALTHY_MS)) return undefined;
    const failure = fail('engine_crashes', { count: this.#failures, why: this.#why });
    return this.#isHanging ? advised(failure, HANGING_REMEDY) : failure;
  }
}
