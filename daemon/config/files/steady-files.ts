// Reads small files, and keeps one in force that vanishes: editors and programs that make a link anew remove a file for an instant. A file that
// has been read stays in force until it has been missing for `LIMITS.absenceMs`. A file that is being written is read when that is over.
import type { Clock } from '../../base/async/clock.ts';
import { monotonicMs } from '../../base/async/monotonic.ts';
import { sleep } from '../../base/async/sleep.ts';
import { isStill, wasYoung } from '../../base/files/stamp.ts';
import { LIMITS } from '../../base/limits.ts';
import { LruMap } from '../../base/lru-map.ts';
import { markNow, MISSING, readSmallFile, type Mark, type Marks } from './file.ts';

/** ms between two checks of a missing file. */
const LOOK_MS = 500;
/**
 * Checks in a row that find no file, after which its absence is believed. They are counted, because the time alone says nothing after the
 * process stood still.
 */
const CHECKS = Math.ceil(LIMITS.absenceMs / LOOK_MS);
/** Maximum number of files that are kept; the least recently read are dropped first. */
const MAX_FILES = 128;
/** ms without a change after which a file that has just been changed counts as whole. */
const QUIET_MS = 20;

interface Kept {
  readonly mark: Mark;
  readonly bytes: Uint8Array;
  /** Checks in a row that found no file; undefined while it is there. */
  missed: number | undefined;
}

/** To be closed by `close`, since it has a timer while a file is missing. */
export class SteadyFiles {
  readonly #clock: Clock;
  readonly #kept = new LruMap<string, Kept>(MAX_FILES);
  #onGone: () => void = () => {};
  #stopTimer: (() => void) | undefined;
  #isChecking = false;
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `listener` is called when the absence of a file is believed. There is one listener. */
  onGone(listener: () => void): void {
    this.#onGone = listener;
  }

  /** As `readSmallFile`, with the last content of a file that has vanished. */
  readonly read = async (path: string, marks: Marks): Promise<Uint8Array | undefined> => {
    const found: Marks = new Map();
    try {
      const bytes = await readSettled(path, found);
      const mark = found.get(path) ?? MISSING;
      if (bytes !== undefined) {
        // A copy, because the file was read into a much larger buffer.
        this.#kept.set(path, { mark, bytes: new Uint8Array(bytes), missed: undefined });
        return bytes;
      }
      const kept = this.#kept.get(path);
      if (kept === undefined) return undefined;
      this.#hold(kept);
      found.set(path, kept.mark);
      return kept.bytes;
    } finally {
      for (const [file, mark] of found) marks.set(file, mark);
    }
  };

  /** The mark of a file as it is in force now: of one that has vanished, the mark that it had when it was read. Never fails. */
  async mark(path: string): Promise<Mark> {
    const mark = await markNow(path);
    const kept = this.#kept.peek(path);
    if (kept === undefined) return mark;
    if (mark === MISSING) {
      this.#hold(kept);
      return kept.mark;
    }
    kept.missed = undefined;
    return mark;
  }

  /** Whether one of the files has changed since its mark was taken. */
  async anyChanged(marks: ReadonlyMap<string, Mark>): Promise<boolean> {
    const now = await Promise.all([...marks].map(async ([path, mark]) => (await this.mark(path)) !== mark));
    return now.includes(true);
  }

  close(): void {
    this.#isClosed = true;
    this.#stopTimer?.();
  }

  #hold(kept: Kept): void {
    kept.missed ??= 0;
    if (this.#isClosed) return;
    this.#stopTimer ??= this.#clock.every(LOOK_MS, () => void this.#check());
  }

  /** Counts the checks that find no file. Never rejects, because taking a mark never fails. */
  async #check(): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    let isGone = false;
    for (const [path, kept] of this.#kept) {
      if (kept.missed === undefined) continue;
      if ((await markNow(path)) !== MISSING) kept.missed = undefined;
      else kept.missed += 1;
      if (kept.missed !== CHECKS || this.#kept.peek(path) !== kept) continue;
      this.#kept.delete(path);
      isGone = true;
    }
    this.#isChecking = false;
    if ([...this.#kept.values()].every(({ missed }) => missed === undefined)) {
      this.#stopTimer?.();
      this.#stopTimer = undefined;
    }
    if (isGone && !this.#isClosed) this.#onGone();
  }
}

/**
 * As `readSmallFile`, but waits while the file is being written, for `LIMITS.fileSettledMs` at most. The first part of a config may be valid and
 * mean something else: a target whose transport is not written yet is a local one.
 */
async function readSettled(path: string, marks: Marks): Promise<Uint8Array | undefined> {
  const until = monotonicMs() + LIMITS.fileSettledMs;
  for (;;) {
    marks.delete(path);
    const bytes = await readSmallFile(path, marks);
    const mark = marks.get(path) ?? MISSING;
    if (!wasYoung(mark) || monotonicMs() >= until) return bytes;
    await sleep(QUIET_MS);
    if (isStill(mark, await markNow(path))) return bytes;
  }
}
