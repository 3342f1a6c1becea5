// What happens to the daemon and to its gateways during the soak: gateways end and come back, control ends and a new one comes.
import { setTimeout } from 'node:timers/promises';
import { startBmuxd, type Bmuxd, type BmuxdHome } from '../daemon/bmuxd.ts';
import type { FarGateway } from './far-gateway.ts';

/** ms that a busy machine may take until a change of the config is in force. */
const IN_FORCE_MS = 250;

/** A time during which something was away, performance.now(). */
export interface Away {
  readonly from: number;
  to: number;
}

export function wasAway(times: readonly Away[], since: number, until: number): boolean {
  return times.some(({ from, to }) => since < to && until > from);
}

/** The control process of now. */
export class Control {
  readonly away: Away[] = [];
  /** performance.now() of each time that it was killed. */
  readonly killedAt: number[] = [];
  readonly #home: BmuxdHome;
  readonly #first: Bmuxd;
  /** All that there were: each has its own log. */
  readonly #all: Bmuxd[] = [];
  #now: Promise<Bmuxd>;

  private constructor(home: BmuxdHome, first: Bmuxd) {
    this.#home = home;
    this.#first = first;
    this.#all.push(first);
    this.#now = Promise.resolve(first);
  }

  static async start(home: BmuxdHome): Promise<Control> {
    return new Control(home, await startBmuxd({ home }));
  }

  /** Once it is there. */
  get now(): Promise<Bmuxd> {
    return this.#now;
  }

  /** Asks the one of now; once more when it was ended meanwhile. */
  async ask<T>(question: (bmuxd: Bmuxd) => Promise<T>): Promise<T> {
    for (;;) {
      const now = this.#now;
      try {
        return await question(await now);
      } catch (error) {
        if (now === this.#now) throw error;
      }
    }
  }

  /** Whoever is there: for clients, who know the sockets alone. */
  get clients(): Pick<Bmuxd, 'open' | 'env'> {
    return this.#first;
  }

  /** What they have logged of late, and their engines through them. */
  log(): string {
    return this.#all.map((bmuxd) => bmuxd.log()).join('');
  }

  /** Ends it, as a service manager or a crash does, and starts the next one. */
  async restart(): Promise<void> {
    const last = await this.#now;
    const away: Away = { from: performance.now(), to: Infinity };
    this.away.push(away);
    this.#now = (async () => {
      if (Math.random() < 0.5) await last.leave();
      else {
        this.killedAt.push(performance.now());
        await last.killControl();
      }
      const next = await startBmuxd({ home: this.#home });
      this.#all.push(next);
      away.to = performance.now();
      return next;
    })();
    await this.#now;
  }

  /** What the config says now is in force. */
  async hasRead(): Promise<void> {
    for (;;) {
      const now = this.#now;
      await now;
      await setTimeout(IN_FORCE_MS);
      if (now === this.#now) return;
    }
  }

  async stop(): Promise<void> {
    const bmuxd = await this.#now.catch(() => this.#all.at(-1));
    await bmuxd?.stop();
  }
}

/** Ends a gateway, as a service manager or a crash does, starts it again after `awayMs`, and lets its share link lead there. */
export async function restartGateway(
  gateway: FarGateway,
  away: Away[],
  control: Control,
  configure: () => Promise<void>,
  awayMs: number,
): Promise<void> {
  const time: Away = { from: performance.now(), to: Infinity };
  away.push(time);
  await gateway.restart(Math.random() < 0.5 ? 'SIGTERM' : 'SIGKILL', awayMs);
  await configure();
  await control.hasRead();
  time.to = performance.now();
}
