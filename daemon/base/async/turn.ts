// The turns of the event loop.

/** Resolves in the next turn, after all that was to be done at the end of the present one. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Streams that go on in one turn of the loop, and ms after which no further one does. */
const AT_ONCE = 4;
const MOST_MS = 2;
/** A stream whose share of one turn has lasted for so many turns is no flood, and waits for no other. */
const UNHURRIED_TURNS = 16;

/** Streams that have had their share of a turn, in the order in which they go on. */
const waiting = new Set<() => void>();
/** Turns in which streams have gone on. */
let turns = 0;
let isDue = false;

function plan(): void {
  if (isDue || waiting.size === 0) return;
  isDue = true;
  setImmediate(goOnSome);
}

function goOnSome(): void {
  isDue = false;
  turns += 1;
  const since = performance.now();
  let left = Math.min(AT_ONCE, waiting.size);
  try {
    for (const goOn of waiting) {
      if (left === 0 || performance.now() - since >= MOST_MS) return;
      left -= 1;
      waiting.delete(goOn);
      goOn();
    }
  } finally {
    plan();
  }
}

/** The turns of one busy stream. Each alone takes little time, and many floods at once would take all of it. */
export class StreamTurns {
  #begunAt = turns;

  /** Calls `goOn` in a later turn of the loop, when it is this stream's, unless the returned function was called before. */
  next(goOn: () => void): () => void {
    const begin = (): void => {
      this.#begunAt = turns;
      goOn();
    };
    if (turns - this.#begunAt >= UNHURRIED_TURNS) {
      const turn = setImmediate(begin);
      return () => {
        clearImmediate(turn);
      };
    }
    waiting.add(begin);
    plan();
    return () => {
      waiting.delete(begin);
    };
  }
}
