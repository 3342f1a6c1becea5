// Logs: JSON lines by pino, readable when a person looks on. Secrets never reach it: what carries them is not logged at all.
import { pino, type Logger } from 'pino';
import { withoutCredentials, withoutTokens } from './redact.ts';

export type { Logger } from 'pino';
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Where lines go. Called with one or more JSON lines, each with its line end. */
export interface LogSink {
  write(lines: string): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly sink: LogSink;
  /** `control`, or `engine` and its generation: which process speaks. */
  readonly process: string;
}

/** A logger that writes through `sink`. */
export function makeLogger({ level, sink, process: name }: LogOptions): Logger {
  return pino(
    {
      level,
      base: { process: name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    {
      write: (line: string) => {
        sink.write(withoutCredentials(withoutTokens(line)));
      },
    },
  );
}
