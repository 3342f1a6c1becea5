// One QUIC connection to a gateway, shared by many streams: opens streams, checks health and closes.
import type { Duplex } from 'node:stream';
import { inTime, settledWithin } from '../../base/async/deadline.ts';
import { sleep } from '../../base/async/sleep.ts';
import { Failure, textOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Dialling } from '../dialling.ts';
import { endGracefully } from '../end.ts';
import { ByteArrays, closeRaw, irohError, refuseStreams, type RawConnection } from './binding.ts';
import { isRefused } from './refused.ts';
import { IrohStream } from './stream.ts';

/**
 * Maximum number of streams. A peer allows 100 at once, and an open beyond that waits for ever without an error. The peer allows new streams
 * only when more than an eighth of its limit has ended (quinn, StreamsState). A few are reserved for streams that are still ending.
 */
export const STREAMS_MAX = 84;
/** Interval at which a probe reads the counters, ms. */
const PROBE_LOOK_MS = 5;

/** Counters of a connection since its start. When the received counters do not change for 7 s, the path is suspect. */
export interface IrohCounters {
  readonly receivedDatagrams: number;
  readonly receivedBytes: number;
  readonly sentDatagrams: number;
  readonly sentBytes: number;
  readonly lostPackets: number;
}

/** A connection. Keep a reference to it and to its endpoint while a stream of it is used: garbage collection closes connections. */
export class IrohConnection {
  /** Resolves with a reason for people once either side has closed the connection or it is lost; never rejects. */
  readonly closed: Promise<string>;
  readonly #raw: RawConnection;
  /** Only a reference: a garbage-collected endpoint closes all its connections. */
  readonly endpoint: object;
  readonly #arrays = new ByteArrays();
  /** Streams that the peer still counts, including destroyed ones that are still ending. */
  readonly #streams = new Set<IrohStream>();
  #opening = 0;
  #alive = true;
  /** Room for datagrams while none waits to be sent. Undefined before the first question. */
  #datagramRoom: number | undefined;
  #closing: Promise<void> | undefined;

  constructor(raw: RawConnection, endpoint: object) {
    this.#raw = raw;
    this.endpoint = endpoint;
    refuseStreams(raw);
    this.closed = raw.closed().then(
      (reason) => {
        this.#alive = false;
        return textOf(reason);
      },
      (error: unknown) => {
        this.#alive = false;
        return irohError(error).message;
      },
    );
  }

  /** False once it is closed or known to be lost; a lost peer is noticed after 30 s (see `counters`). */
  isAlive(): boolean {
    return this.#alive && this.#closing === undefined;
  }

  /** Number of streams that are open or still ending. */
  get streams(): number {
    return this.#streams.size + this.#opening;
  }

  /** Whether one more stream can be opened at once. */
  hasRoom(): boolean {
    return this.isAlive() && this.streams < STREAMS_MAX;
  }

  /** The binding's estimate of the round trip, whole ms; undefined when it has none. */
  rttMs(): number | undefined {
    try {
      return this.#raw.rtt() ?? undefined;
    } catch {
      return undefined;
    }
  }

  /** Counters for a health check; undefined when the binding does not report them any more. */
  counters(): IrohCounters | undefined {
    try {
      const stats = this.#raw.stats();
      return {
        receivedDatagrams: stats.udpRxDatagrams,
        receivedBytes: stats.udpRxBytes,
        sentDatagrams: stats.udpTxDatagrams,
        sentBytes: stats.udpTxBytes,
        lostPackets: stats.lostPackets,
      };
    } catch {
      return undefined;
    }
  }

  /**
   * Checks whether the peer answers: sends an unreliable datagram, which the peer's QUIC acknowledges (RFC 9221) and its application ignores.
   * So it uses no stream and no connection of the server. True when anything arrived within `ms` after the datagram had left; the
   * acknowledgement is delayed by up to 25 ms (RFC 9000 §18.2).
   */
  async probe(ms: number): Promise<boolean> {
    // Datagrams that had arrived before and are not read yet do not count as an answer.
    await sleep(PROBE_LOOK_MS);
    let before = this.counters()?.receivedDatagrams;
    if (before === undefined || !this.isAlive()) return false;
    try {
      this.#datagramRoom ??= this.#raw.datagramSendBufferSpace();
      // One that has not left yet is the same question.
      if (!this.isHeldBack()) this.#raw.sendDatagram([0]);
    } catch {
      return false;
    }
    const until = performance.now() + ms;
    while (performance.now() < until) {
      await sleep(PROBE_LOOK_MS);
      if (!this.isAlive()) return false;
      const now = this.counters()?.receivedDatagrams;
      if (this.isHeldBack()) before = now;
      else if (now !== undefined && now !== before) return true;
    }
    return false;
  }

  /**
   * True while the last question has not left. Packets of the peer may come meanwhile, and nothing of ours gets to it: so it is with QUIC after
   * some changes of the network (docs/decisions/iroh-connections.md).
   */
  isHeldBack(): boolean {
    if (this.#datagramRoom === undefined) return false;
    try {
      return this.#raw.datagramSendBufferSpace() < this.#datagramRoom;
    } catch {
      return false;
    }
  }

  /** True when a stream has waited for long for an answer to what was written; see `IrohStream.takeOverdue`. */
  takeOverdue(): boolean {
    return [...this.#streams].map((stream) => stream.takeOverdue()).includes(true);
  }

  /**
   * True when the system of the peer says that nobody listens any more at an address that this connection uses: the peer's process has ended.
   * False when it says nothing. A relay says nothing.
   */
  async isRefused(ms: number): Promise<boolean> {
    const addresses = this.#directAddresses();
    const refused = await Promise.all(addresses.map((address) => isRefused(address, ms)));
    return refused.includes(true);
  }

  /** The path that is used now, for people; undefined when the binding tells none. */
  path(): string | undefined {
    try {
      const paths = this.#raw.paths();
      const now = paths.find(({ isSelected }) => isSelected) ?? paths[0];
      return now === undefined
        ? undefined
        : `${now.isIp ? 'direct to' : 'through the relay'} ${now.remoteAddr}`;
    } catch {
      return undefined;
    }
  }

  /** Addresses of the open direct paths, `IP:PORT`. */
  #directAddresses(): string[] {
    try {
      return this.#raw
        .paths()
        .filter(({ isIp }) => isIp)
        .map(({ remoteAddr }) => remoteAddr);
    } catch {
      return [];
    }
  }

  /** The peer is gone: its streams fail with `why` at once. Then the connection is closed, which waits for their ends as `close` does. */
  lose(why: string): void {
    const error = Object.assign(new Error(why), { code: 'ETIMEDOUT' });
    for (const stream of this.#streams) stream.destroy(error);
    this.close().catch(() => undefined);
  }

  /** Opens a stream. The peer learns of it with the first byte. Rejects with iroh_stream_failed, also at the limit of streams. */
  async openStream(dialling: Dialling): Promise<Duplex> {
    if (!this.hasRoom()) throw fail('iroh_stream_failed', {}, new Error(this.#noRoom()));
    const { deadline, signal } = dialling;
    const late = (): Failure =>
      fail('out_of_time', { ms: deadline.budgetMs, step: 'opening an iroh stream' });
    this.#opening += 1;
    const opened = this.#raw
      .openBi()
      .then((raw) => this.#adopt(new IrohStream({ send: raw.send, receive: raw.recv, arrays: this.#arrays })))
      .finally(() => {
        this.#opening -= 1;
      });
    try {
      return await inTime(opened, deadline.remaining(), late, {
        signal,
        abandon: (stream) => {
          stream.destroy();
        },
      });
    } catch (error) {
      if (error instanceof Failure || signal.aborted) throw error;
      throw fail('iroh_stream_failed', {}, irohError(error));
    }
  }

  #noRoom(): string {
    if (!this.isAlive()) return 'the connection is closed';
    return `the connection has ${String(this.streams)} streams open, its limit is ${String(STREAMS_MAX)}`;
  }

  #adopt(stream: IrohStream): IrohStream {
    this.#streams.add(stream);
    void stream.released.then(() => this.#streams.delete(stream));
    return stream;
  }

  /**
   * Ends every stream, waits for the peer's ends (at most `boundMs`), then closes. Calling twice is safe. Closing while a stream is open costs
   * the server behind the gateway one connection (docs/bmux-protocol.md, "Connection limit").
   */
  close(boundMs: number = LIMITS.endMs): Promise<void> {
    this.#closing ??= this.#close(boundMs);
    return this.#closing;
  }

  async #close(boundMs: number): Promise<void> {
    const ends = [...this.#streams].map(async (stream) => {
      await endGracefully(stream, boundMs);
      await stream.released;
    });
    await settledWithin(Promise.all(ends), boundMs);
    closeRaw(this.#raw);
    await settledWithin(this.closed, LIMITS.irohConnectionCloseMs);
  }
}
