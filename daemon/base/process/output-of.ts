// Runs a program of the system for its output.
import { execFile, type ExecFileException } from 'node:child_process';
import type { Env } from '../paths.ts';

export interface ProgramLimits {
  /** After these ms the program is killed. */
  readonly ms: number;
  /** Most bytes of output; with more the program is killed. */
  readonly maxBuffer?: number;
  /** Its environment; default: that of this process. */
  readonly env?: Env;
}

export interface Ran {
  /** Also of a program that has failed or was killed. */
  readonly stdout: string;
  /** Null when the program has ended with the status 0. Its `code` is a text when the program could not be run. */
  readonly error: ExecFileException | null;
}

/** Resolves when the program has ended. Never rejects. A program that hangs may also ignore SIGTERM, so it gets SIGKILL. */
export function outputOf(program: string, args: readonly string[], limits: ProgramLimits): Promise<Ran> {
  const { ms, maxBuffer = 1 << 20, env } = limits;
  return new Promise((resolve) => {
    execFile(
      program,
      [...args],
      { timeout: ms, killSignal: 'SIGKILL', maxBuffer, env, encoding: 'utf8' },
      (error, stdout) => {
        resolve({ stdout, error });
      },
    );
  });
}
