// What one server answered to whole Hellos: with a cached answer the next Hello is optimistic (docs/decisions/optimistic-hello.md).
import { createHash } from 'node:crypto';
import { LruMap } from '../base/lru-map.ts';
import { encodeRequestFrame, type Contract } from '../bmux-ipc/ipc.ts';
import type { Candidate } from './candidates.ts';
import type { Negotiated } from './handshake.ts';

/** Who says Hello: everything of it that a server's answer could depend on. */
export interface Greeting {
  readonly contract: Contract;
  /** Free label; no part of the key. */
  readonly clientName: string;
  readonly principalId: string;
}

export interface HelloAnswer {
  readonly negotiated: Negotiated;
  readonly candidate: Candidate;
  /** ms from Hello to answer when it was last measured: an upper bound of the round trip. */
  readonly roundTripMs: number;
}

interface CachedHello extends HelloAnswer {
  /** Wall clock, ms, of the last confirmation. */
  readonly at: number;
}

/** Greetings of one server; a user has a handful of clients. */
const MAX_ENTRIES = 64;
/** ms that an entry is valid. A replaced server is noticed by the comparison of its answer, so this only bounds how often that happens. */
const FRESH_MS = 15 * 60_000;
/** The same without compression: a plain Hello at a gateway that compresses by now gets no answer at all (docs/bmux-protocol.md). */
const FRESH_PLAIN_MS = 60_000;

/** Kept in memory only: a restart asks anew. Ages are wall time, which goes on while the machine sleeps. */
export class HelloCache {
  readonly #entries = new LruMap<string, CachedHello>(MAX_ENTRIES);
  readonly #now: () => number;

  constructor(options: { readonly now?: () => number } = {}) {
    this.#now = options.now ?? (() => Date.now());
  }

  /** The answer that is expected to this greeting now. */
  get(greeting: Greeting): HelloAnswer | undefined {
    const entry = this.#entries.get(greetingKey(greeting));
    if (entry === undefined) return undefined;
    const limit = entry.candidate.compression === 'none' ? FRESH_PLAIN_MS : FRESH_MS;
    const age = this.#now() - entry.at;
    return age >= 0 && age < limit ? entry : undefined;
  }

  store(greeting: Greeting, { candidate, negotiated, roundTripMs }: HelloAnswer): void {
    this.#entries.set(greetingKey(greeting), { candidate, negotiated, roundTripMs, at: this.#now() });
  }

  /** Forgets all answers: when one was different, the others may be as well. */
  clear(): void {
    this.#entries.clear();
  }
}

/** The key of a greeting: contract bytes and principal, not the label. */
export function greetingKey({ contract, principalId }: Greeting): string {
  const epoch = contract.epoch === 3 ? 3 : 4;
  const bytes = encodeRequestFrame(epoch, 0n, { type: 'hello', contract, clientName: '', principalId });
  return createHash('sha256').update(bytes).digest('base64url');
}
