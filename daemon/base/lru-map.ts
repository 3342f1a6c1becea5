// A bounded map that evicts the least recently used entry.

/** Keeps at most `max` entries. `get` and `set` count as a use; iteration goes from the least to the most recently used. */
export class LruMap<K, V> {
  readonly #max: number;
  readonly #entries = new Map<K, V>();
  readonly #onEvict: ((value: V, key: K) => void) | undefined;
  readonly #isInUse: ((value: V, key: K) => boolean) | undefined;

  /**
   * `onEvict` is called with each evicted entry, after its removal. An entry for which `isInUse` returns true is never evicted: the map holds
   * more than `max` entries while that many are in use.
   */
  constructor(max: number, onEvict?: (value: V, key: K) => void, isInUse?: (value: V, key: K) => boolean) {
    this.#max = max;
    this.#onEvict = onEvict;
    this.#isInUse = isInUse;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of `key`; marks it as the most recently used one. */
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
    for (const [old, oldValue] of this.#entries) {
      if (this.#entries.size <= this.#max) return;
      if (old === key || this.#isInUse?.(oldValue, old) === true) continue;
      this.#entries.delete(old);
      this.#onEvict?.(oldValue, old);
    }
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
