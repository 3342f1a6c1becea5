// One iroh connection, and whether its peer still answers: the binding alone reports a dead path only after 30 s (docs/bmux-protocol.md).
import type { Duplex } from 'node:stream';
import type { Dialling } from '../transport/dialling.ts';
import type { IrohConnection } from '../transport/iroh/endpoint.ts';

/** ms that a connection may receive nothing after a stream was opened on it: a Hello is sent at once and acknowledged in a round trip. */
const DOUBT_MS = 800;
/** The same in round trips, for far hosts. */
const DOUBT_ROUND_TRIPS = 4;

/** ms since it was last heard of, within which a connection is used without a health check. */
const FRESH_MS = 6000;
/** ms that a health check may take at least; more on far paths. */
const CHECK_MS = 1000;

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
  /** The event for its loss was sent: many may notice the loss. Reset when the peer is heard again. */
  lossTold = false;
  /** ms since the epoch. */
  readonly madeAtMs = Date.now();
  /** performance.now() of the last stream that was opened, or had an end. */
  usedAt = performance.now();
  /** What had been received when a stream was opened, while nothing has been received since. */
  #unacknowledged: { readonly received: number; readonly at: number } | undefined;
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

  /** False once it is lost, retired, doubtful or silent. The last two end when the peer is heard again. */
  get usable(): boolean {
    return !this.#retired && this.connection.isAlive() && !this.doubtful && !this.silent;
  }

  get doubtful(): boolean {
    if (this.#unacknowledged === undefined) return false;
    const received = this.connection.counters()?.receivedDatagrams;
    if (received !== undefined && received !== this.#unacknowledged.received) {
      this.#unacknowledged = undefined;
      return false;
    }
    const patience = Math.max(DOUBT_MS, DOUBT_ROUND_TRIPS * (this.connection.rttMs() ?? 0));
    return performance.now() - this.#unacknowledged.at > patience;
  }

  /** It did not answer a health check, and was not heard of since. */
  get silent(): boolean {
    if (this.#silent) this.sinceHeardMs();
    return this.#silent;
  }

  /** ms since the peer was last heard of, as far as the counters were read. */
  sinceHeardMs(): number {
    const received = this.connection.counters()?.receivedDatagrams ?? this.#heard.received;
    if (received !== this.#heard.received) {
      // The first reading has nothing to compare with: the connection was last heard of when it was made.
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

  /** Heard of so lately that it may be used without a health check. */
  get fresh(): boolean {
    return this.sinceHeardMs() < FRESH_MS;
  }

  /** What was heard so far no longer counts: the machine slept, or the network changed. */
  markStale(): void {
    this.sinceHeardMs();
    this.#heard = { received: this.#heard.received, at: -Infinity };
  }

  /** A health check is under way. */
  get checking(): boolean {
    return this.#check !== undefined;
  }

  /** Probes the peer, in one round trip; false when it did not answer in time. Callers share the check under way. Never rejects. */
  healthCheck(): Promise<boolean> {
    const patience = Math.max(CHECK_MS, DOUBT_ROUND_TRIPS * (this.connection.rttMs() ?? 0));
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
    // An older stream that is still unacknowledged says more than a new one.
    if (received !== undefined && !this.#isUnacknowledged())
      this.#unacknowledged = { received, at: this.usedAt };
    stream.once('close', () => {
      this.usedAt = performance.now();
    });
    return { stream, doubtful: () => this.doubtful };
  }

  #isUnacknowledged(): boolean {
    const received = this.connection.counters()?.receivedDatagrams;
    return this.#unacknowledged !== undefined && this.#unacknowledged.received === received;
  }
}
