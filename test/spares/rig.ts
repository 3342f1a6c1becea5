// Spares over scripted streams, in a time of their own: a server that can be slow, full, dead or talkative.
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
  readonly proofs: number[] = [];
  /** ms that making one takes. */
  makeMs = 200;
  roundTripMs = 50;
  max = 4;
  ttlMs = 60_000;
  connections = 64;
  /** Makings begun. */
  made = 0;
  /** Makings that are under way, and the most that there were. */
  making = 0;
  fails = false;
  /** The network is gone: no Pong comes any more. */
  silent = false;
  /** A part of every Pong that is under way has come already. */
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
  });

  /** Streams that are held: shelved or handed out. */
  get open(): number {
    return this.lines.filter(({ stream }) => !stream.destroyed).length;
  }

  factory(key = 'prod'): SpareFactory<Line> {
    return {
      key,
      max: () => this.max,
      make: () => {
        this.made += 1;
        this.making += 1;
        return new Promise((resolve, reject) => {
          this.clock.after(this.makeMs, () => {
            this.making -= 1;
            if (this.fails) reject(new Error('no place'));
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
        this.proofs.push(number);
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

  /** A first use, and the time that its spares take. */
  async warm(key = 'prod'): Promise<void> {
    this.spares.used(this.factory(key), this.makeMs, this.roundTripMs);
    await this.clock.advance(this.makeMs + 1);
  }

  /** Takes one; time goes on until it is there or refused. `waitedMs`: how long that took. */
  async take(key = 'prod'): Promise<{ readonly line: Line | undefined; readonly waitedMs: number }> {
    const since = this.clock.now();
    let result: { readonly line: Line | undefined } | undefined;
    void this.spares.take(this.factory(key)).then((line) => (result = { line }));
    await this.clock.advance(0);
    while (result === undefined) await this.clock.advance(1);
    return { ...result, waitedMs: this.clock.now() - since };
  }
}
