// Spares over scripted streams, with a fake clock. The server can be slow, full, silent, or send what is not expected.
import { duplexPair, type Duplex } from 'node:stream';
import { Spares, type ReadyStream, type SpareFactory } from '../../daemon/spares/spares.ts';
import { FakeClock } from '../base/async/fake-clock.ts';

export interface Line extends ReadyStream {
  readonly number: number;
  /** The server's end. */
  readonly far: Duplex;
}

export class SparesRig {
  readonly clock = new FakeClock();
  readonly lines: Line[] = [];
  readonly ended: Duplex[] = [];
  /** The numbers of the lines that were checked, in order. */
  readonly checks: number[] = [];
  /** ms that making a spare takes. */
  makeMs = 200;
  roundTripMs = 50;
  /** The random number of each pause: 0.5 leaves it as it is. */
  random = 0.5;
  max = 4;
  /** ms after a spare was handed out in which none is made. */
  restMs = 0;
  ttlMs = 60_000;
  connections = 64;
  /** Number of calls of `make`. */
  made = 0;
  /** Number of spares that are being made. */
  making = 0;
  /** When true, making a spare fails. */
  fails = false;
  /** When true, no Pong comes any more. */
  silent = false;
  /** When true, a part of every Pong has been read already, so a check cannot be given up. */
  answering = false;
  readonly spares = new Spares<Line>({
    ttlMs: () => this.ttlMs,
    mayHold: () => this.open + this.making < this.connections,
    end: (stream) => {
      if (this.ended.includes(stream)) throw new Error('ended twice');
      this.ended.push(stream);
      stream.destroy();
    },
    log: () => undefined,
    clock: this.clock,
    random: () => this.random,
  });

  /** Number of streams that are open: in a pool or handed out. */
  get open(): number {
    return this.lines.filter(({ stream }) => !stream.destroyed).length;
  }

  factory(key = 'prod'): SpareFactory<Line> {
    return {
      key,
      max: () => this.max,
      restMs: () => this.restMs,
      make: () => {
        this.made += 1;
        this.making += 1;
        return new Promise((resolve, reject) => {
          this.clock.after(this.makeMs, () => {
            this.making -= 1;
            if (this.fails) reject(new Error('no connection'));
            else resolve(this.#line());
          });
        });
      },
    };
  }

  #line(): Line {
    const [stream, far] = duplexPair();
    const number = this.lines.length;
    stream.on('error', () => undefined);
    far.resume();
    let giveUp: ((why: Error) => void) | undefined;
    const line: Line = {
      stream,
      far,
      number,
      check: (timeoutMs) => {
        this.checks.push(number);
        return new Promise((resolve, reject) => {
          const dead = this.silent || far.destroyed;
          const cancel = this.clock.after(dead ? timeoutMs : this.roundTripMs, () => {
            giveUp = undefined;
            if (dead) reject(new Error('no Pong'));
            else resolve(this.roundTripMs);
          });
          giveUp = (why) => {
            giveUp = undefined;
            cancel();
            reject(why);
          };
        });
      },
      release: () => {
        if (this.answering || giveUp === undefined) return false;
        giveUp(new Error('handed out'));
        return true;
      },
    };
    this.lines.push(line);
    return line;
  }

  /** A first use; returns when its spares are made. */
  async warm(key = 'prod'): Promise<void> {
    this.spares.used(this.factory(key), this.makeMs, this.roundTripMs);
    await this.clock.advance(this.makeMs + 1);
  }

  /** Takes a spare, and moves the clock until `take` resolves. `waitedMs`: the time that it took. */
  async take(key = 'prod'): Promise<{ readonly line: Line | undefined; readonly waitedMs: number }> {
    const since = this.clock.now();
    let result: { readonly line: Line | undefined } | undefined;
    void this.spares.take(this.factory(key)).then((line) => (result = { line }));
    await this.clock.advance(0);
    while (result === undefined) await this.clock.advance(1);
    return { ...result, waitedMs: this.clock.now() - since };
  }
}
