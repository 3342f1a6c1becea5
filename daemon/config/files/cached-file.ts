// What a small file says, read again only when it has changed: a request costs a look at it, not a reading.
import { markNow, type Mark } from './file.ts';

/** Files kept at once; the least recently used go first. */
const MAX_FILES = 64;

/** Keeps the last value of each path with the mark that the file had before it was read. */
export class CachedFiles<T> {
  readonly #kept = new Map<string, { readonly mark: Mark; readonly value: T }>();

  /** `read`'s value, or the kept one while the file looks the same. A rejection of `read` is passed on, and not kept. */
  async get(path: string, read: () => Promise<T>): Promise<T> {
    const mark = await markNow(path);
    const known = this.#kept.get(path);
    this.#kept.delete(path);
    const entry = known?.mark === mark ? known : { mark, value: await read() };
    this.#kept.set(path, entry);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MAX_FILES && oldest !== undefined) this.#kept.delete(oldest);
    return entry.value;
  }
}
