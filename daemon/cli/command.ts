// Types of the command table: what a command is, and what it gets when it runs.
import type { Socket } from 'node:net';
import type { Env } from '../base/paths.ts';

/** `process.stderr`, or what takes its place in the daemon. */
export type Stderr = Socket & { readonly fd: number; readonly isTTY?: boolean; readonly columns?: number };

export interface CommandContext {
  readonly env: Env;
  readonly cwd: string;
  readonly version: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly stdout: NodeJS.WriteStream & { readonly fd: number };
  readonly stderr: Stderr;
  /** The shell that waits for this process and goes on with what it prints (shell/front.sh). */
  readonly shell?: FrontShell | undefined;
  /** Values of the command's options, by name. */
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  /** They fit one of the command's forms. */
  readonly args: readonly string[];
  /** How many of `args` stand before the first `--`. */
  readonly argsBeforeDashes: number;
}

/** Both functions return the exit status of this process. */
export interface FrontShell {
  /** Lets the shell evaluate this program. Its arguments are those of the command line, without the name of the command. */
  readonly run: (program: string) => number;
  /** Lets the shell start this command line again, as a process that stays. */
  readonly stay: () => number;
}

/** Resolves to the exit status. */
export type Run = (context: CommandContext) => Promise<number>;

/** A row of the command table. */
export interface Command {
  readonly name: string;
  /** What other programs call it: it is suggested to somebody who writes that. */
  readonly otherNames?: readonly string[];
  /**
   * The ways to write its arguments, as in a usage line: small words stand for themselves, capital ones for a value. `a|b` is one of both,
   * `[X]` may be missing, `X...` may be repeated.
   */
  readonly forms: readonly string[];
  /** One sentence. */
  readonly about: string;
  readonly options: Readonly<Record<string, OptionRow>>;
  readonly examples: readonly Example[];
  /** What its exit statuses mean, where that is more than `EXIT_STATUSES` says. */
  readonly exits?: Readonly<Record<number, string>>;
  /** What it prints on its standard output when it fails, for a shell that evaluates that. */
  readonly failing?: string;
  /** What it waits for when it takes long; missing for one that shows that itself, or goes on until it is ended. */
  readonly waits?: string;
  /** Loads what the command needs. Other commands start without it. */
  readonly load: () => Promise<Run>;
}

export type Example = readonly [line: string, about: string];

export interface OptionRow {
  readonly type: 'string' | 'boolean';
  /** Its letter, without the dash. */
  readonly short?: string;
  /** Placeholder of the value, for the help. */
  readonly value?: string;
  /** The values that it takes; missing where they cannot be listed. */
  readonly values?: readonly string[];
  readonly about: string;
}

/** An option that several commands have. */
export const JSON_OPTION: OptionRow = { type: 'boolean', about: 'print the answer as JSON' };
