// Puts a terminal back to how it was before a command ran on it.
import { spawnSync } from 'node:child_process';
import { isatty } from 'node:tty';

/** Mouse reports, focus reports, bracketed paste, application keys and colours off; the cursor on. None of them moves the cursor. */
const QUIET =
  '\u001b[?1000l\u001b[?1002l\u001b[?1003l\u001b[?1006l\u001b[?1004l\u001b[?2004l\u001b[?1l\u001b>\u001b[?25h\u001b[0m';
/** Also what a command undoes that ends by itself: the keyboard protocol of kitty, and the other screen. */
const LEFT = `\u001b[<u\u001b[?1049l${QUIET}`;

/** ms; stty takes 1. */
const STTY_MS = 2000;

export class TerminalModes {
  readonly #saved: string | undefined = isatty(0) ? stty('-g') : undefined;

  /** `isWhole`: the command has ended by itself, and has put back what it changed. */
  restore(isWhole: boolean): void {
    if (this.#saved !== undefined) stty(this.#saved);
    if (isatty(1)) process.stdout.write(isWhole ? QUIET : LEFT);
  }
}

/** The output of stty; undefined when it fails. */
function stty(argument: string): string | undefined {
  const ran = spawnSync('stty', [argument], {
    stdio: ['inherit', 'pipe', 'ignore'],
    encoding: 'utf8',
    timeout: STTY_MS,
  });
  return ran.status === 0 ? ran.stdout.trim() : undefined;
}
