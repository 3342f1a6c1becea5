// How recent streams ended. A client cannot see it on its socket: a Unix socket shows an end, and no reason (docs/stream-ends.md).
import { writeFile } from 'node:fs/promises';
import { LruMap } from '../base/lru-map.ts';
import { LIMITS } from '../base/limits.ts';
import { SCHEMA, type StreamEnd } from '../api/answers.ts';
import type { EndRow, KeptEnds } from '../api/stream-end.ts';

/** Ends that are remembered: a client asks right after its stream has ended. */
const MAX_ENDS = 4096;
/** Most rows of one answer. */
const MAX_ROWS = 1000;

export interface EndsAsked {
  readonly clientPid?: number | undefined;
  readonly sinceMs?: number | undefined;
}

export class StreamEnds {
  readonly #ends = new LruMap<string, EndRow>(MAX_ENDS);

  /** Called before the client gets its end; a later call for the same stream counts. */
  add(end: Omit<EndRow, 'atMs'>): void {
    this.#ends.set(end.id, { ...end, atMs: Date.now() });
  }

  has(id: string): boolean {
    return this.#ends.peek(id) !== undefined;
  }

  end(id: string): StreamEnd {
    const end = this.#ends.peek(id);
    if (end === undefined) return { schema: SCHEMA, known: false };
    return { schema: SCHEMA, known: true, ...(end.lost === undefined ? {} : { lost: end.lost }) };
  }

  /** The latest ends, of one client where its pid is given. */
  list({ clientPid, sinceMs = 0 }: EndsAsked): readonly EndRow[] {
    const rows = this.#since(sinceMs).filter((row) => clientPid === undefined || row.clientPid === clientPid);
    return rows.slice(-MAX_ROWS);
  }

  /** Leaves the latest ends to clients that ask when this engine has exited. Also without any: an engine that leaves no file was killed. */
  async keep(path: string): Promise<void> {
    const rows = this.#since(Date.now() - LIMITS.endsKeptMs);
    const ends = Object.fromEntries(rows.map(({ id, lost }) => [id, lost ?? null]));
    const kept: KeptEnds = { schema: SCHEMA, ends, rows: rows.slice(-MAX_ROWS) };
    await writeFile(path, JSON.stringify(kept), { mode: 0o600 });
  }

  #since(ms: number): EndRow[] {
    return [...this.#ends].flatMap(([, row]) => (row.atMs >= ms ? [row] : []));
  }
}
