// One spare: a stream that is kept ready, watched for its end, and checked from time to time.
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/async/clock.ts';

/** A stream on which the Hello has been answered, and how to check it. The pool does not know the protocol on it. */
export interface ReadyStream {
  readonly stream: Duplex;
  /** Resolves with the round trip in ms; rejects when the stream is unusable. Only one check at a time. */
  readonly check: (timeoutMs: number) => Promise<number>;
  /**
   * Gives up the check that is under way, which rejects; the next owner of the stream reads the answer to it. Returns false when a part of
   * the answer has been read already: the stream cannot be handed out then.
   */
  readonly release: () => boolean;
  /** True when the name of the server leads to another address by now. Such a stream is not handed out. */
  readonly hasMoved?: (() => boolean) | undefined;
}

/** The pool of a spare. */
export interface SpareOwner<R extends ReadyStream> {
  /** Called when a check has succeeded, with the round trip in ms. */
  checked(spare: Spare<R>, roundTripMs: number): void;
  /** Called when the stream has ended, failed, sent something, or a check of it has failed. */
  lost(spare: Spare<R>, why: unknown): void;
}

/** ms for which a check is valid. After that, or after a sleep of the machine, the stream is checked before it is handed out. */
const CHECK_VALID_MS = 5000;
/** A spare that is lost within so many ms counts as a failure to make one: the server may close idle streams. */
const YOUNG_MS = 5000;

export function isUsable({ stream, hasMoved }: ReadyStream): boolean {
  return stream.readable && stream.writable && hasMoved?.() !== true;
}

export class Spare<R extends ReadyStream> {
  readonly ready: R;
  /** By the clock of the pool, ms. */
  readonly madeAt: number;
  readonly #clock: Clock;
  readonly #owner: SpareOwner<R>;
  /** By the clock of the pool, ms. */
  #checkedAt: number;
  /** Resolves when the check that is under way is over. Never rejects. */
  #check: Promise<void> | undefined;

  /** The stream flows from now on, so that its end is noticed at once. */
  constructor(ready: R, clock: Clock, owner: SpareOwner<R>) {
    this.ready = ready;
    this.#clock = clock;
    this.#owner = owner;
    this.madeAt = clock.now();
    this.#checkedAt = this.madeAt;
    const { stream } = ready;
    stream.on('data', this.#onData);
    stream.on('end', this.#onGone);
    stream.on('close', this.#onGone);
    stream.on('error', this.#onGone);
    stream.resume();
  }

  /** True when the stream can be handed out, apart from its checks. */
  get isUsable(): boolean {
    return isUsable(this.ready);
  }

  get checkedAt(): number {
    return this.#checkedAt;
  }

  get isChecking(): boolean {
    return this.#check !== undefined;
  }

  /** True when the last check is recent enough to hand the spare out. */
  get isChecked(): boolean {
    return this.ageOfCheckMs < CHECK_VALID_MS;
  }

  /** ms since the last check. Also positive when the clock was set back. */
  get ageOfCheckMs(): number {
    return Math.abs(this.#clock.now() - this.#checkedAt);
  }

  /** True for a spare that was made a short time ago. */
  get isYoung(): boolean {
    return Math.abs(this.#clock.now() - this.madeAt) < YOUNG_MS;
  }

  /** True when a check has succeeded after the time in which a loss counts as a failure to make a spare. */
  get hasLasted(): boolean {
    return this.#checkedAt - this.madeAt > YOUNG_MS;
  }

  /** The last check no longer counts. */
  markStale(): void {
    this.#checkedAt = -Infinity;
  }

  /** Checks the stream, one check at a time; the result goes to the owner. Never rejects. */
  check(timeoutMs: number): Promise<void> {
    this.#check ??= this.ready.check(timeoutMs).then(
      (roundTripMs) => {
        this.#check = undefined;
        this.#checkedAt = this.#clock.now();
        this.#owner.checked(this, roundTripMs);
      },
      (error: unknown) => {
        this.#check = undefined;
        this.#owner.lost(this, error);
      },
    );
    return this.#check;
  }

  /** Removes the listeners and pauses the stream. */
  release(): void {
    const { stream } = this.ready;
    stream.pause();
    stream.off('data', this.#onData);
    stream.off('end', this.#onGone);
    stream.off('close', this.#onGone);
    stream.off('error', this.#onGone);
  }

  readonly #onGone = (error?: Error): void => {
    this.#owner.lost(this, error ?? 'it was closed');
  };

  /** Bytes that were not expected make the stream unusable for a client. */
  readonly #onData = (): void => {
    if (!this.isChecking) this.#owner.lost(this, 'it sent something');
  };
}

/** Spares without a check under way come first, then those with the latest check. */
export function byCheck<R extends ReadyStream>(a: Spare<R>, b: Spare<R>): number {
  return Number(a.isChecking) - Number(b.isChecking) || b.checkedAt - a.checkedAt;
}
