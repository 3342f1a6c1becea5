// Runs a command of the user in the foreground, and passes signals on to it.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { errnoOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';

/** Signals that are passed to the command. */
const SIGNALS = ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;

export interface RanCommand {
  /** The exit status. A command that a signal ended has status 128 plus the signal's number, as in shells. */
  readonly status: number;
  readonly pid: number;
  /** True when somebody has asked by a signal that the command ends. */
  readonly isEnded: boolean;
}

/** Resolves when the command has exited; rejects when it cannot be run. */
export function runCommand(
  command: string,
  args: readonly string[],
  childEnv: Readonly<Record<string, string | undefined>>,
): Promise<RanCommand> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: childEnv, stdio: 'inherit' });
    const onTerminal = isatty(0) || isatty(1) || isatty(2);
    let isEnded = false;
    const pass = (signal: NodeJS.Signals): void => {
      isEnded ||= !signal.startsWith('SIGUSR');
      // A terminal sends the signals of its keys to the whole process group, so the command has got them already.
      if (onTerminal && (signal === 'SIGINT' || signal === 'SIGQUIT')) return;
      child.kill(signal);
    };
    for (const signal of SIGNALS) process.on(signal, pass);
    const done = (): void => {
      for (const signal of SIGNALS) process.off(signal, pass);
    };
    child.once('error', (error) => {
      // Node emits 'error' also when a signal cannot be sent. The command is running then, and its 'exit' event follows.
      if (child.pid !== undefined) return;
      done();
      reject(
        errnoOf(error) === 'ENOENT'
          ? fail('command_missing', { command }, error)
          : fail('command_unrunnable', { command, why: error.message }, error),
      );
    });
    child.once('exit', (status, signal) => {
      done();
      resolve({
        status: status ?? 128 + (signal === null ? 0 : constants.signals[signal]),
        pid: child.pid ?? 0,
        isEnded,
      });
    });
  });
}
