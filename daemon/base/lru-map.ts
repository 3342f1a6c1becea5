// A bounded map: the least recently used entry goes first.

/** Keeps at most `max` entries. `get` and `set` count as a use; iteration goes from the least to the most recently used. */
export class LruMap<K, V> {
  readonly #max: number;
  readonly #entries = new Map<K, V>();
  readonly #onEvict: ((value: V, key: K) => void) | undefined;

  /** `onEvict` is called with each entry that has to go because of the bound, after it has gone. */
  constructor(max: number, onEvict?: (value: V, key: K) => void) {
    this.#max = max;
    this.#onEvict = onEvict;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of `key`, which is now the most recently used one. */
  get(key: K): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  /** The same, without counting as a use. */
  peek(key: K): V | undefined {
    return this.#entries.get(key);
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#max) return;
    const [oldest] = this.#entries;
    if (oldest === undefined) return;
    this.#entries.delete(oldest[0]);
    this.#onEvict?.(oldest[1], oldest[0]);
  }

  /** Removes an entry, without `onEvict`. False when there was none. */
  delete(key: K): boolean {
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }

  values(): IterableIterator<V> {
    return this.#entries.values();
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.#entries[Symbol.iterator]();
  }
}
