// How recent streams ended. A client cannot see it on its socket: a Unix socket shows an end, and no reason (docs/stream-ends.md).
import { writeFile } from 'node:fs/promises';
import { LruMap } from '../base/lru-map.ts';
import { LIMITS } from '../base/limits.ts';
import { SCHEMA, type KeptEnds, type StreamEnd } from '../api/answers.ts';

/** Ends that are remembered: a client asks right after its stream has ended. */
const MAX_ENDS = 4096;

export class StreamEnds {
  readonly #ends = new LruMap<string, { readonly lost: string | undefined; readonly at: number }>(MAX_ENDS);

  /** Called before the client gets its end; a later call for the same stream counts. */
  add(id: string, lost: string | undefined): void {
    this.#ends.set(id, { lost, at: performance.now() });
  }

  end(id: string): StreamEnd {
    const end = this.#ends.peek(id);
    if (end === undefined) return { schema: SCHEMA, known: false };
    return { schema: SCHEMA, known: true, ...(end.lost === undefined ? {} : { lost: end.lost }) };
  }

  /** Leaves the latest ends to clients that ask when this engine has exited. Without them, nothing is written. */
  async keep(path: string): Promise<void> {
    const since = performance.now() - LIMITS.endsKeptMs;
    const ends: Record<string, string | null> = {};
    for (const [id, { lost, at }] of this.#ends) if (at >= since) ends[id] = lost ?? null;
    if (Object.keys(ends).length === 0) return;
    const kept: KeptEnds = { schema: SCHEMA, ends };
    await writeFile(path, JSON.stringify(kept), { mode: 0o600 });
  }
}
