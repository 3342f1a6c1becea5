// The terminal of a command: what it waits for, and what Node does to a terminal at exit.
import { inOneLine, WIPE, type Terminal } from '../../client-shim/waiting-line.ts';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/** ms after which a person is told what a command waits for, and between two renewals of the line. */
const TOLD_MS = 1000;

/** Shows in one line what is waited for, from 1 s on and only on a terminal. The returned function wipes it; calling that twice is safe. */
export function showWait(terminal: Terminal, what: string, clock: Clock = SYSTEM_CLOCK): () => void {
  let isShown = false;
  let seconds = 0;
  const stop = clock.every(TOLD_MS, () => {
    seconds += 1;
    if (terminal.isTTY !== true) return;
    isShown = true;
    terminal.write(`${WIPE}${inOneLine(`waiting for ${what}`, `, ${String(seconds)} s`, terminal)}`);
  });
  return () => {
    stop();
    if (isShown) terminal.write(WIPE);
    isShown = false;
  };
}

/**
 * Node restores the terminal settings at exit, and aborts with SIGABRT when the terminal no longer exists.
 *
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
