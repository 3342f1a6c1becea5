// What signals do to the daemon. Node's defaults are an open debugger (SIGUSR1), or an end without a word.
import { constants } from 'node:os';

/** End control and engines in good order. SIGXCPU: the limit of CPU time is reached; the kernel kills somewhat later. */
export const ENDING = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGXCPU'] as const;

/** Do nothing: they have no meaning for the daemon. SIGXFSZ: a file at its limit (`ulimit -f`) is told by the failed write, too. */
const MEANINGLESS: readonly NodeJS.Signals[] = [
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGVTALRM',
  'SIGPROF',
  'SIGIO',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGXFSZ',
];

/** Ignores the signals that mean nothing to the daemon, and `more`. */
export function ignoreMeaningless(more: readonly NodeJS.Signals[] = []): void {
  for (const signal of [...MEANINGLESS, ...more])
    if (signal in constants.signals) process.on(signal, () => undefined);
}

/**
 * On SIGUSR1, Node opens a debugger on 127.0.0.1, and every user of the machine can run code through it. A listener prevents that. Programs
 * call this before anything else.
 */
export function openNoDebugger(): void {
  process.on('SIGUSR1', () => undefined);
}
