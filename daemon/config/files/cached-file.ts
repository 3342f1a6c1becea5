// Caches the content of small files: a request checks whether the file has changed, and reads it again only then.
import { SingleFlight } from '../../base/async/single-flight.ts';
import { asRead } from '../../base/files/stamp.ts';
import { markNow, type Mark } from './file.ts';
import { LruMap } from '../../base/lru-map.ts';

/** Maximum number of cached files; the least recently used are dropped first. */
const MAX_FILES = 64;

/** Keeps the last value of each path with the mark that the file had before it was read. Callers that find a change at once share one reading. */
export class CachedFiles<T> {
  readonly #kept = new LruMap<string, { readonly mark: Mark; readonly value: T }>(MAX_FILES);
  readonly #readings = new SingleFlight<string, T>();

  /** Returns the cached value while the file's mark is unchanged, else the value of `read`. A rejection of `read` is passed on and not cached. */
  async get(path: string, read: () => Promise<T>): Promise<T> {
    const mark = await markNow(path);
    const known = this.#kept.get(path);
    if (known?.mark === mark) return known.value;
    return this.#readings.run(JSON.stringify([path, mark]), async () => {
      const before = asRead(mark);
      const value = await read();
      this.#kept.set(path, { mark: before, value });
      return value;
    });
  }

  /** The next `get` of every path reads. */
  forget(): void {
    this.#kept.clear();
  }
}
