// Node sets the terminal back to how it was when the process exits, and aborts (SIGABRT) where that terminal is gone by then.
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/** Notes which of the standard descriptors are terminals; the returned function lets go of those that are none any more. Call it last. */
export function rememberTerminal(): () => void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  return () => {
    for (const fd of terminals) {
      if (isatty(fd)) continue;
      try {
        closeSync(fd);
        // The lowest free descriptor: the one that was just closed. What is no longer the terminal is not set back.
        openSync('/dev/null', 'r+');
      } catch {
        // It was closed already: nothing is set back either.
      }
    }
  };
}
