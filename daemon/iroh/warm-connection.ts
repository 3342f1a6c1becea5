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
/** Health checks in a row that must fail before the streams are given up. */
const LOST_CHECKS = 3;
/** ms for the answer of a system that nobody listens at an address. It answers in one round trip. */
const REFUSED_MS = 500;

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
  /** True when a Hello was answered on it. Then the host wants no SSH auth for it. */
  helloAnswered = false;
  /** Wall clock, ms. */
  readonly madeAtMs = Date.now();
  /** performance.now() when a stream was last opened or closed. */
  usedAt = performance.now();
  /** Number of datagrams received when a stream was opened, and performance.now() then. Undefined when more have been received since. */
  #unacknowledged: { readonly received: number; readonly at: number } | undefined;
  #retired = false;
  /** Number of datagrams received at the last reading, and performance.now() when that number was last seen to grow. */
  #heard = { received: -1, at: performance.now() };
  /** Health checks in a row that the peer did not answer, and how many of them found that nobody listens at its address. */
  #unanswered = 0;
  #refused = 0;
  #stale = false;
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
    if (this.#unanswered > 0) this.sinceHeardMs();
    return this.#unanswered > 0;
  }

  /**
   * Why the streams of the connection can have no future; undefined while they may have one. A silent host may be stopped, and a broken path may
   * come back: QUIC waits for both for 30 s. `limitMs`: time without a packet after which neither is waited for any longer.
   */
  lostBecause(limitMs: number): string | undefined {
    const quietMs = this.#sinceCountedMs();
    if (!this.silent || this.#unanswered < LOST_CHECKS) return undefined;
    if (this.#refused >= LOST_CHECKS) return 'nobody listens any more at the address of the host';
    if (quietMs < limitMs) return undefined;
    return `the host has not answered for ${String(Math.round(quietMs / 1000))} s`;
  }

  /** ms since the peer was last heard, as seen by reading the counters: a packet counts from the next call. Infinity when it is stale. */
  sinceHeardMs(): number {
    const quietMs = this.#sinceCountedMs();
    return this.#stale ? Infinity : quietMs;
  }

  #sinceCountedMs(): number {
    const received = this.connection.counters()?.receivedDatagrams ?? this.#heard.received;
    if (received !== this.#heard.received) {
      // The first reading has nothing to compare with. The peer counts as heard when the connection was made. A packet does not count while
      // a question has not left: nothing of ours reaches the peer then.
      if (this.#heard.received >= 0 && !this.connection.isHeldBack()) {
        this.#heard = { received, at: performance.now() };
        this.#unanswered = 0;
        this.#refused = 0;
        this.#stale = false;
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
    this.#stale = true;
  }

  /** True while a health check is under way. */
  get checking(): boolean {
    return this.#check !== undefined;
  }

  /** Probes the peer; resolves with false when it does not answer in time. Callers share the check under way. Never rejects. */
  healthCheck(): Promise<boolean> {
    const patience = Math.max(CHECK_MS, DOUBT_ROUND_TRIPS * (this.connection.rttMs() ?? 0));
    this.#check ??= this.#ask(patience).finally(() => {
      this.#check = undefined;
    });
    return this.#check;
  }

  async #ask(patience: number): Promise<boolean> {
    const since = performance.now();
    const alive = await this.connection.probe(patience);
    // A question that could not be sent says nothing about the peer.
    const isAsked = performance.now() - since >= patience;
    this.sinceHeardMs();
    if (alive) {
      this.#unanswered = 0;
      this.#refused = 0;
      return true;
    }
    this.#unanswered = isAsked ? this.#unanswered + 1 : Math.max(1, this.#unanswered);
    if (isAsked && this.connection.streams > 0) {
      const refused = await this.connection.isRefused(REFUSED_MS);
      this.#refused = refused ? this.#refused + 1 : 0;
    }
    return false;
  }

  /** No more streams are opened on it. */
  retire(): void {
    this.#retired = true;
  }

  /** Opens a stream. The caller must send on it at once: the acknowledgement shows that the connection is alive. */
  async open(dialling: Dialling): Promise<Duplex> {
    const received = this.connection.counters()?.receivedDatagrams;
    const stream = await this.connection.openStream(dialling);
    this.usedAt = performance.now();
    // An older stream without an acknowledgement is kept as the reference: it has waited for longer.
    if (received !== undefined && !this.#isUnacknowledged())
      this.#unacknowledged = { received, at: this.usedAt };
    stream.once('close', () => {
      this.usedAt = performance.now();
    });
    return stream;
  }

  #isUnacknowledged(): boolean {
    const received = this.connection.counters()?.receivedDatagrams;
    return this.#unacknowledged !== undefined && this.#unacknowledged.received === received;
  }
}
