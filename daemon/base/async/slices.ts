// Long work in short slices, so that the event loop serves other streams in between. All works of a process take turns.

/** Longest slice, ms. The echo of another stream waits for one slice at most. */
const SLICE_MS = 4;

/**
 * Works whose slice is over, by whom they are for: one goes on in each turn of the event loop. Those for one key wait for each other, and
 * the keys take turns, so that many for one do not delay another. Its bound is that of what runs at once.
 */
const waiting = new Map<unknown, (() => void)[]>();

/** When the last slice of any work has begun. */
let lastBegun = -Infinity;
/** True until the end of the turn of the loop in which one has begun, however long it has taken. */
let hasBegun = false;

function begin(): number {
  if (!hasBegun) {
    hasBegun = true;
    setImmediate(() => {
      hasBegun = false;
    });
  }
  lastBegun = performance.now();
  return lastBegun;
}

function goOn(): void {
  const [next] = waiting;
  if (next === undefined) return;
  const [key, works] = next;
  const first = works.shift();
  waiting.delete(key);
  if (works.length > 0) waiting.set(key, works);
  first?.();
  if (waiting.size > 0) setImmediate(goOn);
}

/** One work. */
export class Slices {
  readonly #key: unknown;
  #since: number | undefined;

  /** `key` is for whom the work is. Default: for itself. */
  constructor(key?: unknown) {
    this.#key = key ?? this;
  }

  /** Lets the event loop turn when the present slice is over. Call it between two steps that are short themselves. */
  async next(): Promise<void> {
    const now = performance.now();
    if (this.#since !== undefined && now - this.#since < SLICE_MS) return;
    // A work that begins while no other is in its slice does so at once.
    if (this.#since !== undefined || waiting.size > 0 || hasBegun || now - lastBegun < SLICE_MS) {
      await new Promise<void>((resolve) => {
        const before = waiting.get(this.#key);
        if (before !== undefined) before.push(resolve);
        else if (waiting.set(this.#key, [resolve]).size === 1) setImmediate(goOn);
      });
    }
    this.#since = begin();
  }
}
