// Whether what live streams need is still there: the server, and the master. A bridge does not tell that its server has ended, so `bmux server
// status` is asked there: at once when a stream of the same server has ended for that reason, and from time to time while streams are silent.
// A master that hangs does not tell it either, and is asked on its control socket.
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { Refresh, SingleFlight } from '../../base/async/single-flight.ts';
import { LruMap } from '../../base/lru-map.ts';
import { watchConnectionOf } from '../tcp/of-process.ts';
import type { TcpWatch } from '../tcp/watch.ts';
import { SshEnd } from './failures.ts';
import type { Sessions } from './process.ts';
import type { SshStream } from './stream.ts';

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

interface KnownOpening {
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
  readonly #streams = new Map<Watched, KnownOpening>();
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

/** The watches of the targets with live streams, and of some without. */
export class ServerWatches {
  readonly #watches: LruMap<string, ServerWatch>;

  constructor(most: number) {
    this.#watches = new LruMap(most, undefined, ({ inUse }) => inUse);
  }

  /** `key`: of the target; `ask`: see `ServerWatchOptions`. */
  add(key: string, ask: ServerWatchOptions['ask'], stream: SshStream): void {
    const watch = this.#watches.get(key) ?? new ServerWatch({ ask });
    this.#watches.set(key, watch);
    watch.add(stream);
    stream.once('error', (error) => {
      if (error instanceof SshEnd) watch.suspect();
    });
    stream.once('close', () => {
      watch.remove(stream);
    });
  }

  suspect(key: string): void {
    this.#watches.peek(key)?.suspect();
  }
}

/** ms without a byte of a master before it is asked, when something that was written over it waits for an answer. */
const WRITTEN_MS = 3000;
/** The same, when nothing was written. */
const SILENT_MS = 15_000;

export interface MasterWatchOptions {
  /** Of the master, whoever has started it; undefined when nobody knows. */
  readonly pid: number | undefined;
  readonly tcp: TcpWatch;
  readonly sessions: Sessions;
  /** Asks the master on its control socket, until `isOver`. Never rejects. */
  readonly isHung: (isOver: () => boolean) => Promise<boolean>;
  readonly giveUp: (why: string) => void;
  readonly clock?: Clock;
}

/**
 * Gives a master up that has no use any more: its host acknowledges nothing, which is noticed sooner than by ssh, that counts from the last byte
 * that came; or its process hangs. Lifecycle: until `end`; it looks while the master has sessions.
 */
export class MasterWatch {
  readonly #options: MasterWatchOptions;
  readonly #clock: Clock;
  readonly #asking = new SingleFlight<'ask', void>();
  readonly #unwatch: () => void = () => undefined;
  #stopLooking: (() => void) | undefined;
  /** Sessions to which the host has said nothing. Each was asked for with bytes that the host may not have acknowledged. */
  #silences = 0;
  #isOver = false;
  /** Bytes that had come over it when it was seen to work, and when that was. */
  #heard = 0;
  #workedAt: number;

  constructor(options: MasterWatchOptions) {
    const { pid, tcp, sessions, giveUp, clock = SYSTEM_CLOCK } = options;
    this.#options = options;
    this.#clock = clock;
    this.#workedAt = clock.now();
    if (pid === undefined) return;
    this.#unwatch = watchConnectionOf(pid, tcp, {
      read: () => sessions.sum('bytesRead'),
      written: () => sessions.sum('bytesWritten') + this.#silences,
      isClosed: () => sessions.running.size === 0,
      giveUp: ({ message }) => {
        giveUp(message);
      },
    });
  }

  /** A session was asked for. */
  look(): void {
    if (this.#stopLooking !== undefined || this.#isOver) return;
    this.#works();
    this.#stopLooking = this.#clock.every(LOOK_MS, () => {
      this.#look();
    });
  }

  /** The host has said nothing to a session. */
  hostWasSilent(): void {
    this.#silences += 1;
  }

  /** Asks it now, and gives it up when it hangs: it would leave its streams open without an end. Never rejects. */
  ask(): Promise<void> {
    return this.#asking.run('ask', async () => {
      const { sessions, isHung, giveUp } = this.#options;
      const heard = sessions.sum('bytesRead');
      const isOver = (): boolean =>
        this.#isOver || sessions.running.size === 0 || sessions.sum('bytesRead') !== heard;
      if (!(await isHung(isOver))) {
        this.#works();
        return;
      }
      this.end();
      giveUp('its ssh does not answer');
    });
  }

  end(): void {
    this.#isOver = true;
    this.#unwatch();
    this.#rest();
  }

  #rest(): void {
    this.#stopLooking?.();
    this.#stopLooking = undefined;
  }

  /** What was written is on its way. */
  #works(): void {
    const { sessions } = this.#options;
    this.#heard = sessions.sum('bytesRead');
    this.#workedAt = this.#clock.now();
    for (const session of sessions.running) session.waitsSince = undefined;
  }

  #look(): void {
    const { sessions } = this.#options;
    const now = this.#clock.now();
    if (sessions.running.size === 0) this.#rest();
    const heard = sessions.sum('bytesRead');
    if (heard !== this.#heard) [this.#heard, this.#workedAt] = [heard, now];
    const since = [...sessions.running].flatMap(({ waitsSince }) => waitsSince ?? []);
    // The clock may have been set back.
    const lasts = (ms: number, from: number): boolean => Math.abs(now - from) >= ms;
    const waits = since.some((from) => lasts(WRITTEN_MS, from)) && lasts(WRITTEN_MS, this.#workedAt);
    if (sessions.running.size > 0 && (waits || lasts(SILENT_MS, this.#workedAt))) void this.ask();
  }
}
