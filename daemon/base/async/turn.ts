// The turns of the event loop.

/** Resolves in the next turn, after all that was to be done at the end of the present one. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
