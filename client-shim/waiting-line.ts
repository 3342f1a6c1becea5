// Tells a person at a terminal what a request waits for, in one line that is renewed and then wiped.
import type { Waiting } from '../daemon/api/answers.ts';
import { SYSTEM_CLOCK, type Clock } from '../daemon/base/async/clock.ts';
import { printable } from '../daemon/errors/text.ts';

/** The members of `process.stderr` that are used. */
export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface WaitingLineOptions {
  /** Called at the first news only, because creating `process.stderr` takes time. */
  readonly terminal: () => Terminal;
  /** The target as the user names it. */
  readonly target?: string | undefined;
  readonly clock?: Clock;
}

const RENEWED_MS = 1000;
/** To the first column, and wipe to the end of the line. */
export const WIPE = '\r\u001b[K';
/** Used when the terminal does not say how wide it is; one without a size says 0. */
const COLUMNS = 80;

export class WaitingLine {
  readonly #options: WaitingLineOptions;
  readonly #clock: Clock;
  readonly #sinceMs: number;
  #waiting: Waiting | undefined;
  #terminal: Terminal | undefined;
  #stop: (() => void) | undefined;
  #isOver = false;

  constructor(options: WaitingLineOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#sinceMs = this.#clock.now();
  }

  /** Shows what is waited for. Does nothing without a terminal. */
  readonly show = (waiting: Waiting): void => {
    if (this.#isOver) return;
    this.#terminal ??= this.#options.terminal();
    if (this.#terminal.isTTY !== true) return;
    this.#waiting = waiting;
    this.#write();
    this.#stop ??= this.#clock.every(RENEWED_MS, () => {
      this.#write();
    });
  };

  /** Wipes the line. Nothing is shown from now on. */
  end(): void {
    this.#isOver = true;
    this.#stop?.();
    if (this.#waiting !== undefined) this.#terminal?.write(WIPE);
  }

  #write(): void {
    if (this.#waiting === undefined || this.#terminal === undefined) return;
    const { step, transport, target = this.#options.target } = this.#waiting;
    const who = target === undefined ? '' : ` for ${target}`;
    const seconds = Math.max(0, Math.floor((this.#clock.now() - this.#sinceMs) / 1000));
    const how = transport === undefined ? '' : ` (${transport})`;
    const text = `waiting${who}: ${step}${how}, ${String(seconds)} s`;
    this.#terminal.write(`${WIPE}${inOneLine(text, '', this.#terminal)}`);
  }
}

/** `text` and `tail` in one line of the terminal. `text` is cut first. A line that wraps could not be wiped. */
export function inOneLine(text: string, tail: string, { columns = 0 }: Pick<Terminal, 'columns'>): string {
  const room = (columns > 1 ? columns : COLUMNS) - 1;
  const whole = printable(text).replaceAll(/[\n\t]/g, '?');
  const left = Math.max(0, room - tail.length);
  const shown = whole.length > left ? `${whole.slice(0, Math.max(0, left - 1))}…` : whole;
  return `${shown}${tail}`.slice(0, room);
}
