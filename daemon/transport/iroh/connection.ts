// One QUIC connection to a gateway, shared by many streams, and how it is watched and ended.
import type { Duplex } from 'node:stream';
import { inTime } from '../../base/async/deadline.ts';
import { Failure, textOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Dialling } from '../dialling.ts';
import { endGracefully } from '../end.ts';
import { ByteArrays, closeRaw, irohError, type RawConnection } from './binding.ts';
import { IrohStream } from './stream.ts';

/**
 * A peer allows 100 streams at once, and an open beyond that waits for ever without an error. It gives back the room of streams that have ended only
 * when more than an eighth of it has gathered (quinn, StreamsState), and a few are left for ends under way.
 */
export const STREAMS_MAX = 84;
/** ms between two looks at the counters while a probe is under way. */
const PROBE_LOOK_MS = 5;

/** Counters of a connection since its start; frozen received counters for 7 s mean that the path is suspect. */
export interface IrohCounters {
  readonly receivedDatagrams: number;
  readonly receivedBytes: number;
  readonly sentDatagrams: number;
  readonly sentBytes: number;
  readonly lostPackets: number;
}

/** A connection. Hold it (and its endpoint) for as long as a stream of it is used: the collector takes connections too. */
export class IrohConnection {
  /** Resolves with the reason, for people, once the connection is closed by either side or lost; never rejects. */
  readonly closed: Promise<string>;
  readonly #raw: RawConnection;
  /** Only to keep it referenced: a collected endpoint takes all its connections with it. */
  readonly endpoint: object;
  readonly #arrays = new ByteArrays();
  /** Streams that the peer still counts: also destroyed ones whose end is under way. */
  readonly #streams = new Set<IrohStream>();
  #opening = 0;
  #alive = true;
  #closing: Promise<void> | undefined;

  constructor(raw: RawConnection, endpoint: object) {
    this.#raw = raw;
    this.endpoint = endpoint;
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

  /** False once it was closed or lost, as far as this end knows: a lost peer shows after 30 s (see `counters`). */
  isAlive(): boolean {
    return this.#alive && this.#closing === undefined;
  }

  /** Streams that are open or whose end is under way. */
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

  /** Counters for a liveness check; undefined once the binding no longer tells. */
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
   * Asks the peer for a sign of life: an unreliable datagram, which its QUIC acknowledges (RFC 9221) and its application ignores, so that no
   * stream and no place is used. True when anything came back within `ms`; the acknowledgement is delayed by up to 25 ms (RFC 9000 §18.2).
   */
  async probe(ms: number): Promise<boolean> {
    // What had arrived before, and only waits to be read, is no answer.
    await look();
    const before = this.counters()?.receivedDatagrams;
    if (before === undefined || !this.isAlive()) return false;
    try {
      this.#raw.sendDatagram([0]);
    } catch {
      return false;
    }
    const until = performance.now() + ms;
    while (performance.now() < until) {
      await look();
      if (!this.isAlive()) return false;
      const now = this.counters()?.receivedDatagrams;
      if (now !== undefined && now !== before) return true;
    }
    return false;
  }

  /** Opens a stream. The peer learns of it with the first byte. Rejects with iroh_stream_failed, also when there is no room. */
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
   * Ends every stream, waits for the peer's ends (at most `boundMs`), then closes. Calling twice is safe.
   * Closing under an open stream costs the server behind the gateway a place (docs/bmux-protocol.md, "Connection limit").
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

/** Time for the binding's threads to read what is there. */
function look(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PROBE_LOOK_MS));
}

/** Resolves when `work` has settled, or after `ms`. */
async function settledWithin(work: Promise<unknown>, ms: number): Promise<void> {
  await inTime(work, ms, () => new Error('late')).catch(() => undefined);
}
