// A log whose destination may fail. Lines that cannot be written are lost and counted. It tries again, and says how many lines were lost when it
// works again. A full disk or a slow reader must neither stop the process nor end its log.
import { SYSTEM_CLOCK, type Clock } from './async/clock.ts';
import { errnoOf, textOf } from './failure.ts';
import { makeLogger, type LogSink } from './log.ts';

/** ms between two attempts to write while the destination fails. */
const RETRY_MS = 2000;

export interface LogOutput {
  /** Writes `text` and calls `done` with the result, perhaps before it returns. */
  readonly write: (text: string, done: (error?: Error | null) => void) => void;
  /** Why no more can be written now; undefined when it can. */
  readonly full?: () => string | undefined;
  /** Errors after which no later write can work, since the reader is gone. */
  readonly final: ReadonlySet<string | undefined>;
}

/** Lifecycle: works <-> fails, until the reader is gone. */
export class LossyLog implements LogSink {
  readonly #output: LogOutput;
  readonly #process: string;
  readonly #clock: Clock;
  #lost = 0;
  #why = '';
  /** Defined while writing fails. */
  #stopRetry: (() => void) | undefined;
  #retrying = false;
  #gone = false;

  /** `process`: as in `makeLogger`, for the line about lost lines. */
  constructor(options: { readonly output: LogOutput; readonly process: string; readonly clock?: Clock }) {
    this.#output = options.output;
    this.#process = options.process;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  /** Why writing fails now, and how many lines are lost since it does. */
  get loss(): { readonly why: string; readonly count: number } | undefined {
    return this.#stopRetry === undefined ? undefined : { why: this.#why, count: this.#lost };
  }

  write(lines: string): void {
    if (this.#gone) return;
    if (this.#stopRetry !== undefined) {
      this.#lost += countOf(lines);
      return;
    }
    const full = this.#output.full?.();
    if (full !== undefined) this.#failed(full, lines);
    else
      this.#output.write(lines, (error) => {
        if (error !== undefined && error !== null) this.#onError(error, lines);
      });
  }

  #onError(error: Error, lines: string): void {
    if (this.#output.final.has(errnoOf(error))) {
      this.#gone = true;
      this.#stopRetry?.();
      this.#stopRetry = undefined;
    } else this.#failed(textOf(error), lines);
  }

  #failed(why: string, lines: string): void {
    this.#why = why;
    this.#lost += countOf(lines);
    if (this.#gone) return;
    this.#stopRetry ??= this.#clock.every(RETRY_MS, () => {
      this.#retry();
    });
  }

  /** Writes the line about the lost ones. The log works again when that succeeds. */
  #retry(): void {
    if (this.#retrying || this.#output.full?.() !== undefined) return;
    const lost = this.#lost;
    this.#retrying = true;
    this.#output.write(this.#notice(lost), (error) => {
      this.#retrying = false;
      if (error !== undefined && error !== null) {
        this.#onError(error, '');
        return;
      }
      this.#lost -= lost;
      // Lines that were lost during the write are told at the next attempt.
      if (this.#lost > 0) return;
      this.#stopRetry?.();
      this.#stopRetry = undefined;
    });
  }

  #notice(lost: number): string {
    let text = '';
    const sink: LogSink = {
      write: (line) => {
        text += line;
      },
    };
    const said = `${String(lost)} ${lost === 1 ? 'line' : 'lines'} of the log were lost`;
    makeLogger({ level: 'warn', process: this.#process, sink }).warn({ lost, why: this.#why }, said);
    return text;
  }
}

function countOf(lines: string): number {
  return lines.split('\n').length - 1;
}
