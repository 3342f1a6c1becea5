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
/** From the cursor on. */
const WIPE_ROW = '\u001b[K';
const ROW_ABOVE = '\u001b[A';
/** Used when the terminal does not say how wide it is; one without a size says 0. */
const COLUMNS = 80;

/** One line of a terminal that is written again and again, and then wiped. */
export class RenewedLine {
  readonly #terminal: Pick<Terminal, 'columns' | 'write'>;
  /** How long what is shown is. */
  #length = 0;

  constructor(terminal: Pick<Terminal, 'columns' | 'write'>) {
    this.#terminal = terminal;
  }

  /** Shows this in place of what is shown. See `inOneLine`. */
  show(text: string, tail = ''): void {
    const line = inOneLine(text, tail, this.#terminal);
    this.replace(line);
    this.#length = line.length;
  }

  /** Writes this in place of what is shown, and is over with the line. */
  replace(text = ''): void {
    // Most terminals wrap a line that no longer fits when they are made narrower: the cursor is in the last of its rows.
    const rows = Math.ceil(this.#length / columnsOf(this.#terminal)) - 1;
    this.#terminal.write(`\r${`${WIPE_ROW}${ROW_ABOVE}`.repeat(Math.max(0, rows))}${WIPE_ROW}${text}`);
    this.#length = 0;
  }
}

export class WaitingLine {
  readonly #options: WaitingLineOptions;
  readonly #clock: Clock;
  readonly #sinceMs: number;
  #waiting: Waiting | undefined;
  #terminal: Terminal | undefined;
  #line: RenewedLine | undefined;
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
    this.#line ??= new RenewedLine(this.#terminal);
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
    this.#line?.replace();
  }

  #write(): void {
    if (this.#waiting === undefined) return;
    const { step, transport, target = this.#options.target } = this.#waiting;
    const who = target === undefined ? '' : ` for ${target}`;
    const seconds = Math.max(0, Math.floor((this.#clock.now() - this.#sinceMs) / 1000));
    const how = transport === undefined ? '' : ` (${transport})`;
    this.#line?.show(`waiting${who}: ${step}${how}, ${String(seconds)} s`);
  }
}

function columnsOf({ columns = 0 }: Pick<Terminal, 'columns'>): number {
  return columns > 1 ? columns : COLUMNS;
}

/** `text` and `tail` in one line of the terminal. `text` is cut first. */
function inOneLine(text: string, tail: string, terminal: Pick<Terminal, 'columns'>): string {
  const room = columnsOf(terminal) - 1;
  const whole = printable(text).replaceAll(/[\n\t]/g, '?');
  const left = Math.max(0, room - tail.length);
  const shown = whole.length > left ? `${whole.slice(0, Math.max(0, left - 1))}…` : whole;
  return `${shown}${tail}`.slice(0, room);
}
