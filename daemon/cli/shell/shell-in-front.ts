// The shell that has started this process and evaluates what it prints (front.sh).
import type { FrontShell } from '../command.ts';
import { quotedSh } from './quoted.ts';

/** What front.sh calls instead of `exec`. It is no command for people. */
export const SH_EXEC = 'sh-exec';

/** ms between two looks whether the shell still runs. */
const LOOK_MS = 500;

export class ShellInFront implements FrontShell {
  #program = '';

  /** This process ends when the shell was killed: nobody evaluates what it prints. */
  constructor() {
    const shell = process.ppid;
    setInterval(() => {
      if (process.ppid !== shell) process.exit(1);
    }, LOOK_MS).unref();
  }

  /** Prints a text of the command. */
  readonly out = (text: string): void => {
    this.#program += `printf %s ${quotedSh(text)}\n`;
  };

  readonly run = (program: string): number => {
    this.#program += program;
    return 0;
  };

  readonly stay = (): number => this.run('exec node "$0" exec "$@"\n');

  /** What the shell evaluates when this process has exited with status 0. */
  get program(): string {
    return this.#program;
  }
}
