// What was learnt about servers: which epoch and compression won at a resolved address. Kept over restarts, shared between generations.
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import lockfile from 'proper-lockfile';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { errnoOf, textOf } from '../base/failure.ts';
import type { Candidate } from './candidates.ts';

/** Addresses remembered; the least recently learnt go first. A user has tens of targets, and an iroh host is a new address at each start. */
const MAX_FACTS = 512;
/** A file larger than this is not ours: 512 facts take about 60 KB. */
const MAX_BYTES = 1024 * 1024;
const VERSION = 1;
/** ms after which the lock of an engine that was killed counts for nothing. */
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
  /** Told of a corrupt file that was set aside, and of a write that failed: neither stops anything. */
  readonly warn: (message: string) => void;
}

/** Facts keyed by resolved address, never by a target's name. Reading is synchronous from memory; writing is merged into the file. */
export class ProtocolCache {
  readonly #path: string;
  readonly #warn: (message: string) => void;
  readonly #facts = new Map<string, Fact>();
  /** Not yet in the file. */
  readonly #dirty = new Map<string, Fact>();
  #writing: Promise<void> | undefined;

  constructor(options: ProtocolCacheOptions) {
    this.#path = options.path;
    this.#warn = options.warn;
  }

  /** Reads the file once. A missing one is nothing learnt; a corrupt one is set aside under another name. */
  async load(): Promise<void> {
    try {
      // Under the lock only when something is wrong: another engine may have set the file aside and written a good one since.
      const facts = (await this.#read()) ?? (await this.#locked(() => this.#readOrSetAside()));
      for (const [address, fact] of Object.entries(facts)) this.#facts.set(address, fact);
    } catch (error) {
      this.#warn(`cannot read what was learnt from ${this.#path}: ${textOf(error)}`);
    }
  }

  get(address: string): Candidate | undefined {
    const fact = this.#facts.get(address);
    return fact && { epoch: fact.epoch, compression: fact.compression };
  }

  record(address: string, candidate: Candidate): void {
    const known = this.#facts.get(address);
    if (known?.epoch === candidate.epoch && known.compression === candidate.compression) return;
    const fact: Fact = { epoch: candidate.epoch, compression: candidate.compression, atMs: Date.now() };
    this.#facts.delete(address);
    this.#facts.set(address, fact);
    this.#dirty.set(address, fact);
    for (const facts of [this.#facts, this.#dirty]) {
      const [oldest] = facts.keys();
      if (facts.size > MAX_FACTS && oldest !== undefined) facts.delete(oldest);
    }
    this.#save();
  }

  /** Resolves when everything learnt so far is in the file, or could not be written. */
  async flushed(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  #save(): void {
    this.#writing ??= this.#write()
      .then(
        () => this.#dirty.size > 0,
        (error: unknown) => {
          // What could not be written is tried again with the next thing that is learnt.
          this.#warn(`cannot remember what was learnt in ${this.#path}: ${textOf(error)}`);
          return false;
        },
      )
      .then((more) => {
        this.#writing = undefined;
        if (more) this.#save();
      });
  }

  /** Read, merge, rename, under a lock: several engines may learn at once. */
  async #write(): Promise<void> {
    await this.#locked(async () => {
      const changes = [...this.#dirty];
      const facts = new Map(Object.entries(await this.#readOrSetAside()));
      for (const [address, fact] of changes) {
        facts.delete(address);
        facts.set(address, fact);
      }
      const kept = [...facts].sort(([, a], [, b]) => a.atMs - b.atMs).slice(-MAX_FACTS);
      const temporary = `${this.#path}.${String(process.pid)}.tmp`;
      const text = `${JSON.stringify({ version: VERSION, facts: Object.fromEntries(kept) }, null, 1)}\n`;
      await writeFile(temporary, text, { mode: 0o600 });
      await rename(temporary, this.#path);
      for (const [address, fact] of changes)
        if (this.#dirty.get(address) === fact) this.#dirty.delete(address);
    });
  }

  async #locked<T>(work: () => Promise<T>): Promise<T> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const release = await lockfile.lock(this.#path, {
      realpath: false,
      stale: STALE_MS,
      // Longer than a lock of a killed engine takes to become stale.
      retries: { retries: 50, minTimeout: 10, maxTimeout: 200, randomize: true },
      onCompromised: (error) => {
        this.#warn(`the lock of ${this.#path} was lost: ${error.message}`);
      },
    });
    try {
      return await work();
    } finally {
      await release().catch((error: unknown) => {
        this.#warn(`the lock of ${this.#path}: ${textOf(error)}`);
      });
    }
  }

  async #readOrSetAside(): Promise<Record<string, Fact>> {
    const facts = await this.#read();
    if (facts !== undefined) return facts;
    const aside = `${this.#path}.corrupt-${String(Date.now())}`;
    await rename(this.#path, aside);
    this.#warn(`${this.#path} was not readable and has been set aside as ${aside}`);
    return {};
  }

  /** Undefined: there is a file, and it is not one of ours. */
  async #read(): Promise<Record<string, Fact> | undefined> {
    try {
      if ((await stat(this.#path)).size > MAX_BYTES) return undefined;
      const parsed: unknown = JSON.parse(await readFile(this.#path, 'utf8'));
      return Value.Check(FileSchema, parsed) ? parsed.facts : undefined;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return {};
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
}
