// Failures during the soak: gateways end and start again, control ends and a new one starts.
import { setTimeout } from 'node:timers/promises';
import { startBmuxd, type Bmuxd, type Sandbox } from '../../daemon/bmuxd.ts';
import type { FarGateway } from './far-gateway.ts';

/** Time that a busy machine may need until a change of the config takes effect, ms. */
const IN_FORCE_MS = 250;

/** A period during which a process was away, performance.now(). */
export interface Away {
  readonly from: number;
  to: number;
}

export function wasAway(times: readonly Away[], since: number, until: number): boolean {
  return times.some(({ from, to }) => since < to && until > from);
}

/** The current control process. */
export class Control {
  readonly away: Away[] = [];
  /** performance.now() of each kill. */
  readonly killedAt: number[] = [];
  readonly #home: Sandbox;
  readonly #first: Bmuxd;
  /** All control processes so far: each has its own log. */
  readonly #all: Bmuxd[] = [];
  #now: Promise<Bmuxd>;

  private constructor(sandbox: Sandbox, first: Bmuxd) {
    this.#home = sandbox;
    this.#first = first;
    this.#all.push(first);
    this.#now = Promise.resolve(first);
  }

  static async start(sandbox: Sandbox): Promise<Control> {
    return new Control(sandbox, await startBmuxd({ sandbox }));
  }

  /** Waits until it runs. */
  get now(): Promise<Bmuxd> {
    return this.#now;
  }

  /** Sends a request to the current control, and once more if that was ended meanwhile. */
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

  /** For clients. They know only the sockets, so any process will do. */
  get clients(): Pick<Bmuxd, 'open' | 'env'> {
    return this.#first;
  }

  /** Recent log lines of the control processes, including those from their engines. */
  log(): string {
    return this.#all.map((bmuxd) => bmuxd.log()).join('');
  }

  /** Ends it as a service manager or a crash does, and starts the next one. */
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
      const next = await startBmuxd({ sandbox: this.#home });
      this.#all.push(next);
      away.to = performance.now();
      return next;
    })();
    await this.#now;
  }

  /** Waits until the current config is in effect. */
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

/** Ends a gateway as a service manager or a crash does, starts it again after `awayMs`, and updates its share link. */
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
