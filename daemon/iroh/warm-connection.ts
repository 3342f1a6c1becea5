// One iroh connection of the pool, and whether it can still be believed in: a path that has died shows only after 30 s (spec/wire.md §5).
import type { Duplex } from 'node:stream';
import type { Dialling } from '../transport/dialling.ts';
import type { IrohConnection } from '../transport/iroh/endpoint.ts';

/** ms that a connection may give nothing back after a stream was opened on it: a Hello leaves at once, and is acknowledged in a round trip. */
const DOUBT_MS = 800;
/** The same in round trips, for far hosts. */
const DOUBT_ROUND_TRIPS = 4;

/** ms since the last sign of life that a hand-out takes for granted. */
const FRESH_MS = 6000;
/** ms that a sign of life may take at least; more on far paths. */
const PROOF_MS = 1000;

export interface WarmConnectionParts {
  /** Endpoint id, relay, address: what a dial needs. */
  readonly key: string;
  /** Fingerprint of the SSH key that authenticated it. */
  readonly fingerprint: string | undefined;
  readonly connection: IrohConnection;
}

export class WarmConnection {
  readonly key: string;
  readonly fingerprint: string | undefined;
  readonly connection: IrohConnection;
  /** Its loss was told: many may find it out. A sign of life takes that back. */
  lossTold = false;
  /** ms since the epoch. */
  readonly madeAtMs = Date.now();
  /** performance.now() of the last stream that was opened, or had an end. */
  usedAt = performance.now();
  /** What had been received when a stream was opened that has had no sign of life since. */
  #asked: { readonly received: number; readonly at: number } | undefined;
  #retired = false;
  /** What had been received at the last look, and when that was seen to have grown. */
  #heard = { received: -1, at: performance.now() };
  #silent = false;
  #check: Promise<boolean> | undefined;

  constructor({ key, fingerprint, connection }: WarmConnectionParts) {
    this.key = key;
    this.fingerprint = fingerprint;
    this.connection = connection;
  }

  /** False once it is lost, taken out of use, or gives nothing back. A doubt ends with the next sign of life. */
  get usable(): boolean {
    return !this.#retired && this.connection.isAlive() && !this.doubtful && !this.silent;
  }

  get doubtful(): boolean {
    if (this.#asked === undefined) return false;
    const received = this.connection.counters()?.receivedDatagrams;
    if (received !== undefined && received !== this.#asked.received) {
      this.#asked = undefined;
      return false;
    }
    const patience = Math.max(DOUBT_MS, DOUBT_ROUND_TRIPS * (this.connection.rttMs() ?? 0));
    return performance.now() - this.#asked.at > patience;
  }

  /** It was asked for a sign of life and gave none since. */
  get silent(): boolean {
    if (this.#silent) this.sinceHeardMs();
    return this.#silent;
  }

  /** ms since the peer was last heard of, as far as was looked. */
  sinceHeardMs(): number {
    const received = this.connection.counters()?.receivedDatagrams ?? this.#heard.received;
    if (received !== this.#heard.received) {
      // The first look has nothing to compare with: the connection is as old as its making.
      if (this.#heard.received >= 0) {
        this.#heard = { received, at: performance.now() };
        this.#silent = false;
        this.lossTold = false;
      } else {
        this.#heard = { received, at: this.#heard.at };
      }
    }
    return performance.now() - this.#heard.at;
  }

  /** Heard of so lately that it may be handed out unasked. */
  get fresh(): boolean {
    return this.sinceHeardMs() < FRESH_MS;
  }

  /** Whatever was heard counts no more: the machine slept, or the network changed. */
  markStale(): void {
    this.sinceHeardMs();
    this.#heard = { received: this.#heard.received, at: -Infinity };
  }

  /** It has just been asked for a sign of life. */
  get checking(): boolean {
    return this.#check !== undefined;
  }

  /** Asks the peer for a sign of life, in one round trip; false when none came in time. One question at a time. Never rejects. */
  healthCheck(): Promise<boolean> {
    const patience = Math.max(PROOF_MS, DOUBT_ROUND_TRIPS * (this.connection.rttMs() ?? 0));
    this.#check ??= this.connection.probe(patience).then((alive) => {
      this.#check = undefined;
      this.sinceHeardMs();
      this.#silent = !alive;
      return alive;
    });
    return this.#check;
  }

  /** No new streams. */
  retire(): void {
    this.#retired = true;
  }

  /** Opens a stream, on which the caller speaks at once. */
  async open(dialling: Dialling): Promise<{ readonly stream: Duplex; readonly doubtful: () => boolean }> {
    const received = this.connection.counters()?.receivedDatagrams;
    const stream = await this.connection.openStream(dialling);
    this.usedAt = performance.now();
    // An older question that is still open says more than a new one.
    if (received !== undefined && !this.#open()) this.#asked = { received, at: this.usedAt };
    stream.once('close', () => {
      this.usedAt = performance.now();
    });
    return { stream, doubtful: () => this.doubtful };
  }

  #open(): boolean {
    const received = this.connection.counters()?.receivedDatagrams;
    return this.#asked !== undefined && this.#asked.received === received;
  }
}
