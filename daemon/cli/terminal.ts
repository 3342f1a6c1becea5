// Tells at the terminal what a command waits for, and a command that nobody reads it any more.
import { RenewedLine, type Terminal } from '../../client-shim/waiting-line.ts';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { watchReader } from '../base/node-internals.ts';
import type { CommandContext } from './command.ts';

/** ms after which a person is told what a command waits for, and between two renewals of the line. */
const TOLD_MS = 1000;

/** Shows in one line what is waited for, from 1 s on and only on a terminal. The returned function wipes it; calling that twice is safe. */
export function showWait(terminal: Terminal, what: string, clock: Clock = SYSTEM_CLOCK): () => void {
  let line: RenewedLine | undefined;
  let seconds = 0;
  const stop = clock.every(TOLD_MS, () => {
    seconds += 1;
    if (terminal.isTTY !== true) return;
    line ??= new RenewedLine(terminal);
    line.show(`waiting for ${what}`, `, ${String(seconds)} s`);
  });
  return () => {
    stop();
    line?.replace();
    line = undefined;
  };
}

/** Lets `stdout` fail as soon as its reader has ended, as in `bmuxd events | head -1`. By itself it fails at the next write, which may come late. */
export function failWithReader(stdout: CommandContext['stdout']): void {
  watchReader(stdout.fd, () => {
    stdout.destroy(Object.assign(new Error('nobody reads the output'), { code: 'EPIPE' }));
  });
}
