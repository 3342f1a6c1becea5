// What a person at a terminal sees and can do while a target is waited for: one line, Enter and Ctrl-C.
import { RenewedLine } from '../../../client-shim/waiting-line.ts';
import { SERVER_LOST } from '../../api/stream-end.ts';
import type { Clock } from '../../base/async/clock.ts';
import type { ErrorClass, Failure } from '../../base/failure.ts';
import { classOf } from '../../errors/error-class.ts';
import { asText, printable } from '../../errors/text.ts';

const RENEWED_MS = 1000;
/** Failures that do not end by waiting: a person has to do something. */
const FOR_A_PERSON: ReadonlySet<ErrorClass> = new Set(['tls_trust', 'auth', 'epoch', 'policy', 'request']);
const KEYS = 'Enter tries now, Ctrl-C gives up';

export interface WaitingScreen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ReconnectLineOptions {
  readonly terminal: WaitingScreen;
  readonly clock: Clock;
  readonly target: string;
  /** Why the stream was lost. */
  readonly why: string;
}

/** `TARGET was lost: WHY; now: WHY; waiting 12 s; Enter tries now, Ctrl-C gives up`. Without a terminal, one line is written, and not renewed. */
export class ReconnectLine {
  readonly #options: ReconnectLineOptions;
  readonly #sinceMs: number;
  readonly #stop: () => void;
  /** Undefined without a terminal. */
  readonly #line: RenewedLine | undefined;
  /** Why the last attempt has failed. */
  #now: Failure | undefined;
  /** Codes of what was told in full. */
  readonly #told = new Set<string>();

  constructor(options: ReconnectLineOptions) {
    const { terminal, clock, target } = options;
    // The line itself says that the target was lost. On a usual terminal there is no room for the reason beside it.
    const why = options.why.startsWith(SERVER_LOST) ? options.why.slice(SERVER_LOST.length) : options.why;
    this.#options = { ...options, why };
    this.#sinceMs = clock.now();
    if (terminal.isTTY === true) {
      this.#line = new RenewedLine(terminal);
      this.#write();
      this.#stop = clock.every(RENEWED_MS, () => {
        this.#write();
      });
      return;
    }
    terminal.write(`${printable(`bmuxd: ${target} was lost: ${why}; waiting until it answers`)}\n`);
    this.#stop = () => {};
  }

  /** An attempt has failed. What a person has to mend is told with its remedy, once; anything else in the line. */
  failed(failure: Failure): void {
    this.#now = failure;
    if (this.#told.has(failure.code) || !FOR_A_PERSON.has(classOf(failure.data))) return;
    this.#told.add(failure.code);
    this.#replace(asText(failure, 'bmuxd'));
    this.#write();
  }

  /** Says in the same line that the target answers, or wipes it. */
  end(isBack: boolean): void {
    this.#stop();
    const { target, why } = this.#options;
    const text = `bmuxd: ${target} was lost: ${why}; it answers again after ${this.#elapsed()}`;
    this.#replace(isBack ? `${printable(text)}\n` : '');
  }

  /** Writes this in place of the line. */
  #replace(text: string): void {
    if (this.#line === undefined) this.#options.terminal.write(text);
    else this.#line.replace(text);
  }

  #elapsed(): string {
    return `${String(Math.max(0, Math.floor((this.#options.clock.now() - this.#sinceMs) / 1000)))} s`;
  }

  #write(): void {
    const { target, why } = this.#options;
    const now = this.#now === undefined ? '' : `; now: ${this.#now.message}`;
    const tail = `; waiting ${this.#elapsed()}; ${KEYS}`;
    this.#line?.show(`bmuxd: ${target} was lost: ${why}${now}`, tail);
  }
}

/** The members of `process.stdin` that are used. */
export interface Keyboard {
  readonly isTTY?: boolean;
  setRawMode?(on: boolean): unknown;
  on(event: 'data', listener: (keys: Buffer) => void): unknown;
  off(event: 'data', listener: (keys: Buffer) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** Signals that end the wait as Ctrl-C does. Otherwise the terminal would stay in raw mode. */
const GIVING_UP = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
const CTRL_C = 3;
const ENTER: readonly number[] = [10, 13];

/** Reads keys until the returned function is called. Other keys than Enter and Ctrl-C are dropped. */
export function readKeys(
  keyboard: Keyboard,
  on: { readonly enter: () => void; readonly giveUp: () => void },
): () => void {
  for (const signal of GIVING_UP) process.on(signal, on.giveUp);
  const isTerminal = keyboard.isTTY === true;
  const onData = (keys: Buffer): void => {
    if (keys.includes(CTRL_C)) on.giveUp();
    else if (ENTER.some((key) => keys.includes(key))) on.enter();
  };
  if (isTerminal) {
    // In raw mode the keys are not echoed into the line.
    keyboard.setRawMode?.(true);
    keyboard.on('data', onData);
    keyboard.resume();
  }
  return () => {
    for (const signal of GIVING_UP) process.off(signal, on.giveUp);
    if (!isTerminal) return;
    keyboard.off('data', onData);
    keyboard.pause();
    keyboard.setRawMode?.(false);
  };
}
