// Logs: JSON lines written by pino. Secrets are not logged; tokens and credentials of URLs are also removed from every line.
import { pino, type Logger } from 'pino';
import { withoutCredentials, withoutTokens } from './redact.ts';

export type { Logger } from 'pino';
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Destination of the log. Called with one or more JSON lines, each with its line end. */
export interface LogSink {
  write(lines: string): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly sink: LogSink;
  /** Which process writes the line: `control`, or `engine` and its generation. */
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
