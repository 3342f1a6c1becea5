// Spreads the beginnings of many TLS dials over time. Each takes milliseconds of CPU: a thousand at once would hold up all streams.
import type { EventLoopUtilization } from 'node:perf_hooks';
import type { Clock } from '../../base/async/clock.ts';

/** Dials of one address that begin at once. */
const FREE = 8;
/** Between two beginnings the event loop has been idle. The more dials are under way, the longer: 1 ms for each so many of them. */
const DIALS_PER_MS = 64;
/** Idle ms at most. A thousand dials have begun after 4 s where nothing else is to be done. */
const MAX_IDLE_MS = 4;
/** ms between two beginnings at most, however busy the loop is. A dial takes 6 ms on a slow machine: streams get the rest. */
const MAX_GAP_MS = 16;

/** One dial: it waits, then it is under way, then it is over. */
export interface PacedDial {
  /** Resolves when the dial may begin; undefined when it may begin at once. */
  readonly turn: Promise<void> | undefined;
  /** To be called when the dial has ended, or is not wanted any more. */
  readonly over: () => void;
}

interface Address {
  underWay: number;
  /** What begins the dials that wait, the oldest first. */
  readonly waiting: Set<() => void>;
}

/** How the event loop has spent its time, ms. */
export type LoopTimes = Pick<EventLoopUtilization, 'idle' | 'active'>;

export class DialPace {
  readonly #clock: Pick<Clock, 'after'>;
  readonly #loopTimes: () => LoopTimes;
  /** Addresses with dials. Those that wait for a turn are in rotation. */
  readonly #addresses = new Map<string, Address>();
  #underWay = 0;
  #isResting = false;

  constructor(
    clock: Pick<Clock, 'after'>,
    loopTimes: () => LoopTimes = () => performance.eventLoopUtilization(),
  ) {
    this.#clock = clock;
    this.#loopTimes = loopTimes;
  }

  /** An address with few dials waits for none of another one. */
  dial(key: string): PacedDial {
    const address = this.#addresses.get(key) ?? { underWay: 0, waiting: new Set() };
    this.#addresses.set(key, address);
    const end = (): void => {
      address.underWay -= 1;
      this.#underWay -= 1;
      this.#forget(key, address);
    };
    if (address.underWay < FREE && address.waiting.size === 0) {
      this.#begin(address);
      return { turn: undefined, over: end };
    }
    let over = (): void => undefined;
    const turn = new Promise<void>((resolve) => {
      const begin = (): void => {
        over = end;
        resolve();
      };
      over = () => {
        address.waiting.delete(begin);
        this.#forget(key, address);
      };
      address.waiting.add(begin);
    });
    this.#rest();
    return {
      turn,
      over: () => {
        over();
      },
    };
  }

  #begin(address: Address): void {
    address.underWay += 1;
    this.#underWay += 1;
  }

  #forget(key: string, { underWay, waiting }: Address): void {
    if (underWay === 0 && waiting.size === 0) this.#addresses.delete(key);
  }

  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    this.#restFrom(this.#loopTimes());
  }

  #restFrom(before: LoopTimes): void {
    const idleMs = Math.min(MAX_IDLE_MS, Math.max(1, Math.floor(this.#underWay / DIALS_PER_MS)));
    this.#clock.after(idleMs, () => {
      const now = this.#loopTimes();
      const idle = now.idle - before.idle;
      const all = idle + now.active - before.active;
      if (idle < idleMs && all < MAX_GAP_MS) {
        this.#restFrom(before);
        return;
      }
      this.#isResting = false;
      this.#next();
    });
  }

  /** Begins one dial of the address that has waited longest for its turn. */
  #next(): void {
    for (const [key, address] of this.#addresses) {
      const [begin] = address.waiting;
      if (begin === undefined) continue;
      address.waiting.delete(begin);
      this.#addresses.delete(key);
      this.#addresses.set(key, address);
      this.#begin(address);
      begin();
      this.#rest();
      return;
    }
  }
}
