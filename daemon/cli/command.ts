// Types of the command table: what a command is, and what it gets when it runs.
import type { Env } from '../base/paths.ts';

export interface CommandContext {
  readonly env: Env;
  readonly cwd: string;
  readonly version: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream & { readonly fd: number };
  /** Values of the command's options, by name. */
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly args: readonly string[];
  /** How many of `args` stand before the first `--`. */
  readonly argsBeforeDashes: number;
}

/** A row of the command table. `run` resolves to the exit status. */
export interface Command {
  readonly name: string;
  readonly args: string;
  readonly about: string;
  readonly options: Readonly<Record<string, OptionRow>>;
  readonly maxArgs: number;
  readonly run: (context: CommandContext) => Promise<number>;
}

export interface OptionRow {
  readonly type: 'string' | 'boolean';
  /** Placeholder of the value, for the help. */
  readonly value?: string;
  readonly about: string;
}
