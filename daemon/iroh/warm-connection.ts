// One iroh connection, and whether its peer still answers. The binding reports a lost peer only after 30 s (docs/bmux-protocol.md, iroh).
import type { Duplex } from 'node:stream';
import type { Dialling } from '../transport/dialling.ts';
import type { IrohConnection } from '../transport/iroh/endpoint.ts';

/** ms without a received packet after a stream was opened, at least. A Hello is sent at once, and acknowledged after one round trip. */
const DOUBT_MS = 800;
/** The same in round trips; the longer time counts. */
const DOUBT_ROUND_TRIPS = 4;

/** ms since the last received packet, within which a connection is used without a health check. */
const FRESH_MS = 6000;
/** Timeout of a health check in ms, at least; DOUBT_ROUND_TRIPS when that is longer. */
const CHECK_MS = 1000;

export interface WarmConnectionParts {
  /** See `connectionKey`. */
  readonly key: string;
  /** Fingerprint of the SSH key that authenticated it; undefined without SSH auth. */
  readonly fingerprint: string | undefined;
  readonly connection: IrohConnection;
}

export class WarmConnection {
  readonly key: string;
  readonly fingerprint: string | undefined;
  readonly connection: IrohConnection;
  /** True when the event for its loss was sent, since several callers may notice the loss. Reset when the peer is heard again. */
  lossTold = false;
  /** Wall clock, ms. */
  readonly madeAtMs = Date.now();
  /** performance.now() when a stream was last opened or closed. */
  usedAt = performance.now();
  /** Number of datagrams received when a stream was opened, and performance.now() then. Undefined when more have been received since. */
  #unacknowledged: { readonly received: number; readonly at: number } | undefined;
  #retired = false;
  /** Number of datagrams received at the last reading, and performance.now() when that number was last seen to grow. */
  #heard = { received: -1, at: performance.now() };
  #silent = false;
  #check: Promise<boolean> | undefined;

  constructor({ key, fingerprint, connection }: WarmConnectionParts) {
    this.key = key;
    this.fingerprint = fingerprint;
    this.connection = connection;
  }

  /** False when it is lost, retired, doubtful or silent. The last two end when the peer is heard again. */
  get usable(): boolean {
    return !this.#retired && this.connection.isAlive() && !this.doubtful && !this.silent;
  }

  /** True when nothing was received for a while since a stream was opened. */
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

  /** True when the peer did not answer a health check, and nothing was received since. */
  get silent(): boolean {
    if (this.#silent) this.sinceHeardMs();
    return this.#silent;
  }

  /** ms since the peer was last heard, as seen by reading the counters: a packet counts from the next call. */
  sinceHeardMs(): number {
    const received = this.connection.counters()?.receivedDatagrams ?? this.#heard.received;
    if (received !== this.#heard.received) {
      // The first reading has nothing to compare with. The peer counts as heard when the connection was made.
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

  /** True when the peer was heard so recently that the connection may be used without a health check. */
  get fresh(): boolean {
    return this.sinceHeardMs() < FRESH_MS;
  }

  /** The machine slept, or the network changed: the connection is checked before its next use. */
  markStale(): void {
    this.sinceHeardMs();
    this.#heard = { received: this.#heard.received, at: -Infinity };
  }

  /** True while a health check is under way. */
  get checking(): boolean {
    return this.#check !== undefined;
  }

  /** Probes the peer; resolves with false when it does not answer in time. Callers share the check under way. Never rejects. */
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

  /** No more streams are opened on it. */
  retire(): void {
    this.#retired = true;
  }

  /** Opens a stream. The caller must send on it at once: the acknowledgement shows that the connection is alive. */
  async open(dialling: Dialling): Promise<{ readonly stream: Duplex; readonly doubtful: () => boolean }> {
    const received = this.connection.counters()?.receivedDatagrams;
    const stream = await this.connection.openStream(dialling);
    this.usedAt = performance.now();
    // An older stream without an acknowledgement is kept as the reference: it has waited for longer.
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
