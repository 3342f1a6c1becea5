// What servers answered to whole Hellos: the ground on which the next Hello may be answered before the server has (design.md "Optimistic Hello").
import { createHash } from 'node:crypto';
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

export interface CachedHello {
  readonly negotiated: Negotiated;
  readonly candidate: Candidate;
  /** ms from Hello to answer when it was last measured: an upper bound of the round trip. */
  readonly roundTripMs: number;
  /** Date.now() of the last confirmation. */
  readonly at: number;
}

/** Greetings remembered; a user has a handful of clients and tens of targets. */
const MAX_ENTRIES = 256;
/** ms a memory is good for; a server that was replaced is found out by the comparison, so this only bounds surprise. */
const FRESH_MS = 15 * 60_000;
/** The same where nothing checks the bytes on the way: a plain Hello at a gateway that compresses by now is silence (spec/wire.md §4). */
const FRESH_PLAIN_MS = 60_000;

/** Kept in memory only, by resolved address: a restart asks anew. Ages are wall time, which goes on while the machine sleeps. */
export class HelloCache {
  readonly #entries = new Map<string, CachedHello>();
  readonly #now: () => number;

  constructor(options: { readonly now?: () => number } = {}) {
    this.#now = options.now ?? (() => Date.now());
  }

  /** What may be promised to this greeting at this address now. */
  get(address: string, greeting: Greeting): CachedHello | undefined {
    const memory = this.#entries.get(greetingKey(address, greeting));
    if (memory === undefined) return undefined;
    const limit = memory.candidate.compression === 'none' ? FRESH_PLAIN_MS : FRESH_MS;
    const age = this.#now() - memory.at;
    return age >= 0 && age < limit ? memory : undefined;
  }

  store(
    address: string,
    greeting: Greeting,
    answer: { readonly candidate: Candidate; readonly negotiated: Negotiated; readonly roundTripMs: number },
  ): void {
    const key = greetingKey(address, greeting);
    this.#entries.delete(key);
    this.#entries.set(key, { ...answer, at: this.#now() });
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > MAX_ENTRIES && oldest !== undefined) this.#entries.delete(oldest);
  }

  /** Forgets everything about an address: one difference makes the rest doubtful. */
  forget(address: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(`${address}|`)) this.#entries.delete(key);
  }
}

/** The key of a greeting at an address: contract bytes and principal, not the label. */
export function greetingKey(address: string, { contract, principalId }: Greeting): string {
  const epoch = contract.epoch === 3 ? 3 : 4;
  const bytes = encodeRequestFrame(epoch, 0n, { type: 'hello', contract, clientName: '', principalId });
  return `${address}|${createHash('sha256').update(bytes).digest('base64url')}`;
}
