// Whether the server of live streams is still there. A bridge does not tell that its server has ended, so `bmux server status` is asked there:
// at once when a stream of the same server has ended for that reason, and from time to time while streams are silent.
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { Refresh } from '../../base/async/single-flight.ts';

/** ms for which a byte of the server proves that it is there, and between two questions. */
const ASK_MS = 10_000;
/** ms between two looks at the streams. */
const LOOK_MS = 2000;

/** The server that answers there now: what tells it from a later one, `stopped` where there is none, undefined when nobody knows. */
export type ServerThere = { readonly id: string } | 'stopped' | undefined;

/** A live stream. */
export interface Watched {
  /** When its last byte came, ms by the clock. */
  readonly heardAt: number;
  /** Its server has ended. */
  serverEnded(): void;
}

interface Known {
  readonly since: number;
  /** The server that the first answer after the opening has named. */
  server: string | undefined;
}

export interface ServerWatchOptions {
  /** Asks there. It has a time limit. Never rejects. */
  readonly ask: () => Promise<ServerThere>;
  readonly clock?: Clock;
}

/** The live streams to the servers of one target. Lifecycle: it looks while it has streams. */
export class ServerWatch {
  readonly #ask: ServerWatchOptions['ask'];
  readonly #clock: Clock;
  readonly #streams = new Map<Watched, Known>();
  readonly #asking = new Refresh(() => this.#compare());
  #stopLooking: (() => void) | undefined;
  #askedAt = -Infinity;

  constructor({ ask, clock = SYSTEM_CLOCK }: ServerWatchOptions) {
    this.#ask = ask;
    this.#clock = clock;
  }

  get inUse(): boolean {
    return this.#streams.size > 0;
  }

  add(stream: Watched): void {
    this.#streams.set(stream, { since: this.#clock.now(), server: undefined });
    this.#stopLooking ??= this.#clock.every(LOOK_MS, () => {
      this.#look();
    });
  }

  remove(stream: Watched): void {
    this.#streams.delete(stream);
    if (this.#streams.size > 0) return;
    this.#stopLooking?.();
    this.#stopLooking = undefined;
  }

  /** Something there says that a server has ended. */
  suspect(): void {
    if (this.#streams.size > 0) void this.#asking.request();
  }

  #look(): void {
    const now = this.#clock.now();
    const age = now - this.#askedAt;
    // The clock may have been set back.
    if (age >= 0 && age < ASK_MS) return;
    const isFresh = ({ heardAt }: Watched): boolean => Math.abs(now - heardAt) < ASK_MS;
    const heard = new Set<string>();
    for (const [stream, { server }] of this.#streams)
      if (server !== undefined && isFresh(stream)) heard.add(server);
    const isOpen = [...this.#streams].some(([stream, { since, server }]) =>
      server === undefined ? now - since >= LOOK_MS : !isFresh(stream) && !heard.has(server),
    );
    if (isOpen) void this.#asking.request();
  }

  async #compare(): Promise<void> {
    const asked = [...this.#streams];
    this.#askedAt = this.#clock.now();
    const there = await this.#ask();
    if (there === undefined) return;
    for (const [stream, known] of asked) {
      if (!this.#streams.has(stream)) continue;
      if (there === 'stopped' || (known.server ?? there.id) !== there.id) stream.serverEnded();
      else known.server = there.id;
    }
  }
}
