// Sees the next control process come: its control socket appears. An engine without control waits for that.
import { watch, type FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';

/** ms after which a follower looks without an event: the system may have none, or lose some. */
const LOOK_MS = 100;

/** What one request waits with. */
export interface Following {
  /** Resolves when the next attempt is worth it. At once when called first: the socket may have come before the watch. */
  change(signal?: AbortSignal): Promise<void>;
  end(): void;
}

/** Watches the folder of the control socket while there are followers. */
export class NextControl {
  readonly #path: string;
  readonly #waiting = new Set<() => void>();
  #followers = 0;
  /** How often the control socket was made or removed. */
  #changes = 0;
  #watcher: FSWatcher | undefined;

  constructor(controlSocket: string) {
    this.#path = controlSocket;
  }

  follow(): Following {
    this.#followers += 1;
    this.#watcher ??= this.#watch();
    let seen: number | undefined;
    let isOver = false;
    return {
      change: async (signal) => {
        signal?.throwIfAborted();
        if (seen === this.#changes) await this.#next(signal);
        seen = this.#changes;
      },
      end: () => {
        if (isOver) return;
        isOver = true;
        this.#followers -= 1;
        if (this.#followers === 0) this.#unwatch();
      },
    };
  }

  #next(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(onChange);
        signal?.removeEventListener('abort', onAbort);
      };
      const onChange = (): void => {
        over();
        resolve();
      };
      const onAbort = (): void => {
        over();
        reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      const timer = setTimeout(onChange, LOOK_MS);
      this.#waiting.add(onChange);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  #watch(): FSWatcher | undefined {
    try {
      const watcher = watch(dirname(this.#path), { persistent: false }, (_, name) => {
        // Some systems give no name. Files of others change here, too: a start makes several.
        if (name !== null && name !== basename(this.#path)) return;
        this.#changes += 1;
        for (const onChange of this.#waiting) onChange();
      });
      watcher.on('error', () => {
        this.#unwatch();
      });
      return watcher;
    } catch {
      // The folder is gone, or the system's limit of watches is reached.
      return undefined;
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
