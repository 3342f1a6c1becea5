// The protocol cache: the epoch and compression that each server spoke last, by resolved address. A file that all engines of a user share.
import { rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import lockfile from 'proper-lockfile';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { errnoOf, textOf, type Failure } from '../base/failure.ts';
import { writeAtomic } from '../base/files/atomic-file.ts';
import { makeFolder } from '../base/files/make-folder.ts';
import { refuseForeignFile } from '../base/files/path-problem.ts';
import { RetriedWrite } from '../base/files/retried-write.ts';
import { readBounded } from '../base/files/read-bounded.ts';
import { LruMap } from '../base/lru-map.ts';
import { fail } from '../errors/fail.ts';
import type { Candidate } from './candidates.ts';

/**
 * Addresses at most; the least recently recorded are removed first. A user has tens of targets, and an iroh host has a new address at each
 * start.
 */
const MAX_FACTS = 512;
/** Bytes of the file at most. 512 facts take about 60 KB, so a larger file is corrupt. */
const MAX_BYTES = 1024 * 1024;
const VERSION = 1;
/** ms after which the lock of a killed engine is ignored. */
const STALE_MS = 5000;

const FactSchema = Type.Object({
  epoch: Type.Union([Type.Literal(3), Type.Literal(4)]),
  compression: Type.Union([Type.Literal('zstd'), Type.Literal('none')]),
  atMs: Type.Number(),
});
const FileSchema = Type.Object({
  version: Type.Literal(VERSION),
  facts: Type.Record(Type.String(), FactSchema),
});
type Fact = Static<typeof FactSchema>;

export interface ProtocolCacheOptions {
  /** `{state dir}/protocol-cache.json`. */
  readonly path: string;
  /** Says when a corrupt file was renamed, and when the file could not be read or written. The cache works on in memory. */
  readonly log: { warn(message: string): void };
}

/** Facts by resolved address, not by the name of a target. `get` reads from memory; `record` is merged into the file later. */
export class ProtocolCache {
  readonly #path: string;
  readonly #log: ProtocolCacheOptions['log'];
  readonly #facts = new LruMap<string, Fact>(MAX_FACTS);
  /** Facts that are not in the file yet. */
  readonly #dirty = new LruMap<string, Fact>(MAX_FACTS);
  readonly #writes: RetriedWrite;
  /** Resolves when the latest write is over. Never rejects. */
  #written: Promise<void> = Promise.resolve();

  constructor(options: ProtocolCacheOptions) {
    this.#path = options.path;
    this.#log = options.log;
    this.#writes = new RetriedWrite({
      write: () => this.#write(),
      onFailure: (why) => {
        this.#log.warn(`cannot write the protocol cache ${this.#path}: ${why}`);
      },
    });
  }

  /** Reads the file once. A missing file is an empty cache; a corrupt file is renamed, and so is one that another user can have written. Never rejects. */
  async load(): Promise<void> {
    try {
      // A corrupt file is read again under the lock: another engine may have renamed it and written a new one in the meantime.
      const facts = (await this.#read()) ?? (await this.#locked(() => this.#readOrSetAside()));
      for (const [address, fact] of Object.entries(facts)) this.#facts.set(address, fact);
    } catch (error) {
      this.#log.warn(`cannot read the protocol cache ${this.#path}: ${textOf(error)}`);
    }
  }

  get(address: string): Candidate | undefined {
    const fact = this.#facts.peek(address);
    return fact && { epoch: fact.epoch, compression: fact.compression };
  }

  record(address: string, { epoch, compression }: Candidate): void {
    const known = this.#facts.peek(address);
    if (known?.epoch === epoch && known.compression === compression) return;
    const fact: Fact = { epoch, compression, atMs: Date.now() };
    this.#facts.set(address, fact);
    this.#dirty.set(address, fact);
    // When it cannot be written, the fact stays in #dirty for the next attempt.
    this.#written = this.#writes.request();
  }

  /** The file could not be written. */
  get problem(): Failure | undefined {
    const { why } = this.#writes;
    return why === undefined ? undefined : fail('state_unwritable', { path: this.#path, why });
  }

  /** Ends the attempts to write after a failure. */
  close(): void {
    this.#writes.close();
  }

  /** The entry of one address. */
  entry(address: string): ProtocolEntry {
    return new ProtocolEntry(this, address);
  }

  /** Resolves when everything that was recorded so far is in the file, or could not be written. */
  async flushed(): Promise<void> {
    await this.#written;
  }

  /** Reads, merges and replaces the file under a lock, since several engines may write at once. */
  async #write(): Promise<void> {
    if (this.#dirty.size === 0) return;
    await this.#locked(async () => {
      const changes = [...this.#dirty];
      const facts = new Map(Object.entries(await this.#readOrSetAside()));
      for (const [address, fact] of changes) {
        facts.delete(address);
        facts.set(address, fact);
      }
      const kept = [...facts].sort(([, a], [, b]) => a.atMs - b.atMs).slice(-MAX_FACTS);
      const text = `${JSON.stringify({ version: VERSION, facts: Object.fromEntries(kept) }, null, 1)}\n`;
      await writeAtomic(this.#path, text);
      for (const [address, fact] of changes)
        if (this.#dirty.peek(address) === fact) this.#dirty.delete(address);
    });
  }

  async #locked<T>(work: () => Promise<T>): Promise<T> {
    await makeFolder(dirname(this.#path));
    const release = await lockfile.lock(this.#path, {
      realpath: false,
      stale: STALE_MS,
      // The retries take longer than STALE_MS.
      retries: { retries: 50, minTimeout: 10, maxTimeout: 200, randomize: true },
      onCompromised: (error) => {
        this.#log.warn(`the lock of ${this.#path} was lost: ${error.message}`);
      },
    });
    try {
      return await work();
    } finally {
      await release().catch((error: unknown) => {
        this.#log.warn(`the lock of ${this.#path}: ${textOf(error)}`);
      });
    }
  }

  async #readOrSetAside(): Promise<Record<string, Fact>> {
    const facts = await this.#read();
    if (facts !== undefined) return facts;
    const aside = `${this.#path}.corrupt-${String(Date.now())}`;
    await rename(this.#path, aside);
    this.#log.warn(`${this.#path} was not readable and has been set aside as ${aside}`);
    return {};
  }

  /** The facts of the file; undefined for a corrupt file. Rejects with an error of the system other than ENOENT. */
  async #read(): Promise<Record<string, Fact> | undefined> {
    try {
      const parsed: unknown = JSON.parse(
        (await readBounded(this.#path, MAX_BYTES, refuseForeignFile)).toString('utf8'),
      );
      return Value.Check(FileSchema, parsed) ? parsed.facts : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return {};
      // The file is too large, not JSON, or another user's.
      if (errnoOf(error) === undefined) return undefined;
      throw error;
    }
  }
}

/** The entry of one server in the protocol cache. */
export class ProtocolEntry {
  readonly #cache: Pick<ProtocolCache, 'get' | 'record'>;
  readonly #address: string;

  constructor(cache: Pick<ProtocolCache, 'get' | 'record'>, address: string) {
    this.#cache = cache;
    this.#address = address;
  }

  get candidate(): Candidate | undefined {
    return this.#cache.get(this.#address);
  }

  record(candidate: Candidate): void {
    this.#cache.record(this.#address, candidate);
  }
}
