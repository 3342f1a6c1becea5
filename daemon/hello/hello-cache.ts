// The hello cache of one server: with a cached answer the next stream is opened optimistically (docs/decisions/optimistic-hello.md).
import { createHash } from 'node:crypto';
import { LruMap } from '../base/lru-map.ts';
import { encodeRequestFrame, type Contract } from '../bmux-ipc/ipc.ts';
import type { Candidate } from './candidates.ts';
import type { Negotiated } from './handshake.ts';

/** The content of a Hello. */
export interface Greeting {
  readonly contract: Contract;
  /** A label; the answer does not depend on it. */
  readonly clientName: string;
  readonly principalId: string;
}

export interface HelloAnswer {
  readonly negotiated: Negotiated;
  readonly candidate: Candidate;
  /** ms from Hello to answer, as last measured: an upper bound of the round trip. */
  readonly roundTripMs: number;
}

interface CachedHello extends HelloAnswer {
  /** Wall clock, ms, when the answer was last confirmed. */
  readonly at: number;
}

/** Entries at most; a user has a few kinds of clients. */
const MAX_ENTRIES = 64;
/** ms that an entry is valid. A replaced server is noticed since its answer differs; the limit only makes that rarer. */
const FRESH_MS = 15 * 60_000;
/** The same without compression. A gateway that has compression now does not answer such a Hello at all (docs/bmux-protocol.md, Compression mode). */
const FRESH_PLAIN_MS = 60_000;

/** Kept in memory only, so a new engine asks again. Ages are measured in wall time, which includes the sleep of the machine. */
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

  /** Removes all answers: when one has changed, the others may have changed as well. */
  clear(): void {
    this.#entries.clear();
  }
}

/** The key of a greeting: contract and principal, without the client name. */
export function greetingKey({ contract, principalId }: Greeting): string {
  const epoch = contract.epoch === 3 ? 3 : 4;
  const bytes = encodeRequestFrame(epoch, 0n, { type: 'hello', contract, clientName: '', principalId });
  return createHash('sha256').update(bytes).digest('base64url');
}
