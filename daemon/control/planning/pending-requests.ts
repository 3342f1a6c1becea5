// The requests whose plan is being made: each has its time, and is given up when its client leaves or the daemon stops.
import type { Socket } from 'node:net';
import type { Failure } from '../../base/failure.ts';

/**
 * Nearly all plans are there a moment later and ask nobody: an AbortSignal, which costs as much as the plan itself (20 µs [measured]), is made
 * only for who wants one. Nothing of a request is ever attached to something that outlives it.
 */
export class PendingRequests {
  readonly #giveUps = new Set<(why: Failure) => void>();

  get size(): number {
    return this.#giveUps.size;
  }

  /** Waits for `work` at most `ms`; rejects with `late()`, or with `gone()` when `socket` closes before. `signalOf` aborts with either. */
  run<T>(
    work: (signalOf: () => AbortSignal) => Promise<T>,
    options: {
      readonly socket: Socket;
      readonly gone: () => Failure;
      readonly ms: number;
      readonly late: () => Failure;
    },
  ): Promise<T> {
    const { socket, gone, ms, late } = options;
    return new Promise<T>((resolve, reject) => {
      let abort: AbortController | undefined;
      let over: Failure | undefined;
      // Also of work that never ends, on a mount that does not answer: nothing is left of it here.
      const clear = (): void => {
        clearTimeout(timer);
        socket.off('close', onClose);
        this.#giveUps.delete(giveUp);
      };
      const giveUp = (why: Failure): void => {
        clear();
        over ??= why;
        abort?.abort(over);
        reject(over);
      };
      const onClose = (): void => {
        giveUp(gone());
      };
      const timer = setTimeout(() => {
        giveUp(late());
      }, ms);
      socket.once('close', onClose);
      this.#giveUps.add(giveUp);
      const signalOf = (): AbortSignal => {
        abort ??= new AbortController();
        if (over !== undefined) abort.abort(over);
        return abort.signal;
      };
      work(signalOf).finally(clear).then(resolve, reject);
    });
  }

  giveUpAll(why: Failure): void {
    for (const giveUp of this.#giveUps) giveUp(why);
  }
}
