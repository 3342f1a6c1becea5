// Works around an abort of Node: at exit Node restores the terminal settings, and aborts with SIGABRT when the terminal no longer exists.
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/**
 * Records which of the descriptors 0 to 2 are terminals. The returned function replaces those that have ceased to be terminals by /dev/null.
 * Call it at exit.
 */
export function rememberTerminal(): () => void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  return () => {
    for (const fd of terminals) {
      if (isatty(fd)) continue;
      try {
        closeSync(fd);
        // open(2) returns the lowest free descriptor, which is the one just closed. Node restores only the terminal it had there before.
        openSync('/dev/null', 'r+');
      } catch {
        // The descriptor is closed, so Node restores nothing on it.
      }
    }
  };
}
