// Remembers how long a server could not write because its client did not read. Real servers give such a client up.
import { LIMITS } from '../base/limits.ts';

/** Bytes that may be under way in kernel buffers and gateways. A server of which more arrives has not given up. */
const UNDER_WAY_BYTES = 16 * 1024 * 1024;
/** The slowest that they arrive, bytes per ms. Many streams of one iroh connection are read about as slowly as that [measured]. */
const SLOWEST = 32;

/** Lifecycle: free -> held -> catching up -> free. Times are those of performance.now(). */
export class Hold {
  #since: number | undefined;
  /** The last hold that was long enough for the server to give up. */
  #last: { readonly ms: number; readonly bytes: number } | undefined;
  #caughtUpAt: number | undefined;

  /** Since when reading from the server is held; undefined when it is not. */
  get since(): number | undefined {
    return this.#since;
  }

  begin(): void {
    this.#since ??= performance.now();
  }

  /** `bytes`: read from the server so far. */
  end(bytes: number): void {
    if (this.#since === undefined) return;
    const ms = performance.now() - this.#since;
    this.#since = undefined;
    if (ms < LIMITS.serverPatienceMs) return;
    this.#last = { ms, bytes };
    this.#caughtUpAt = undefined;
  }

  /** The client has taken everything. */
  caughtUp(): void {
    if (this.#last !== undefined) this.#caughtUpAt ??= performance.now();
  }

  /** How long the client did not read, ms, when an end of the server at this moment may come from that. `bytes` as in `end`. */
  blame(bytes: number): number | undefined {
    this.end(bytes);
    const last = this.#last;
    if (last === undefined || bytes - last.bytes > UNDER_WAY_BYTES) return undefined;
    if (this.#caughtUpAt === undefined) return last.ms;
    // The end comes after the bytes that were under way.
    const since = performance.now() - this.#caughtUpAt - (bytes - last.bytes) / SLOWEST;
    return since > LIMITS.blameMs ? undefined : last.ms;
  }
}
