// Writes control's log to stderr or to a file: JSON lines, readable lines on a terminal, lines with a priority for the journal. A failing or
// blocked stderr must not stop or delay the daemon.
import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import pretty from 'pino-pretty';
import type { Failure } from '../../base/failure.ts';
import { boundedLogFile } from '../../base/files/bounded-log-file.ts';
import { WholeLines } from '../../base/files/write-whole.ts';
import type { LogLevel, LogSink } from '../../base/log.ts';
import { LossyLog, type LogOutput } from '../../base/lossy-log.ts';
import { fail } from '../../errors/fail.ts';

/** Bytes buffered while nobody reads stderr. Beyond that lines are dropped, which bounds the memory of the daemon. */
const MAX_KEPT_BYTES = 1024 * 1024;

/** Where control's log goes. */
export interface ControlSink extends LogSink {
  /** A cause of `degraded`. A log whose reader has gone is none: the user may have closed the terminal. */
  readonly problem: Failure | undefined;
  /** Where the lines are found: `journal`, the path of a file, or `stderr`. */
  readonly place: string;
}

export interface ControlSinkOptions {
  readonly stderr: Stderr;
  /** Value of JOURNAL_STREAM: systemd names the socket that it has made stderr. */
  readonly journalStream?: string | undefined;
  /** Path of a file that gets the lines in place of stderr. */
  readonly file?: string | undefined;
  /** Whether lines on a terminal are coloured. Default true. */
  readonly color?: boolean;
}

/** The part of `process.stderr` that is used. */
type Stderr = { readonly fd: number; readonly isTTY?: boolean } & Pick<
  Socket,
  'writableLength' | 'write' | 'on'
>;

export function controlSink({ stderr, journalStream, file, color = true }: ControlSinkOptions): ControlSink {
  // Every failed write is told to its callback.
  stderr.on('error', () => undefined);
  const isJournal = journalStream !== undefined && journalStream === streamOf(stderr.fd);
  const output =
    file !== undefined ? boundedLogFile(file) : isJournal ? journal(stderr) : outputOf(stderr, color);
  const log = new LossyLog({ process: 'control', output });
  return {
    write: (lines) => {
      log.write(lines);
    },
    place: file ?? (isJournal ? 'journal' : 'stderr'),
    get problem() {
      return log.loss && fail('log_unwritable', log.loss);
    },
  };
}

function outputOf(stderr: Stderr, color: boolean): LogOutput {
  if (stderr.isTTY === true) return terminal(stderr, color);
  return isFile(stderr.fd) ? regularFile(stderr.fd) : pipe(stderr);
}

/** A regular file, or a device such as /dev/full. Node's own stream for it ignores that the system may write only a part. */
function isFile(fd: number): boolean {
  try {
    const found = fstatSync(fd);
    return found.isFile() || found.isCharacterDevice();
  } catch {
    return false;
  }
}

function regularFile(fd: number): LogOutput {
  const lines = new WholeLines();
  return {
    final: new Set(),
    write: (text, done) => {
      try {
        lines.write(fd, text);
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
        return;
      }
      done();
    },
  };
}

function pipe(stderr: Stderr): LogOutput {
  return {
    final: new Set(['EPIPE', 'ECONNRESET']),
    full: () => (stderr.writableLength < MAX_KEPT_BYTES ? undefined : 'nobody reads it'),
    write: (text, done) => {
      stderr.write(text, done);
    },
  };
}

/** Device and inode of a descriptor, as in JOURNAL_STREAM; undefined when it is closed. */
function streamOf(fd: number): string | undefined {
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return `${String(dev)}:${String(ino)}`;
  } catch {
    return undefined;
  }
}

/** Priorities of syslog(3), as the journal takes them at the beginning of a line: sd-daemon(3). */
const PRIORITIES: Readonly<Record<LogLevel, number>> = {
  fatal: 2,
  error: 3,
  warn: 4,
  info: 6,
  debug: 7,
  trace: 7,
};
const LEVEL = /^\{"level":"(fatal|error|warn|info|debug|trace)"/;

function journal(stderr: Stderr): LogOutput {
  const plain = pipe(stderr);
  const withPriority = (line: string): string => {
    const level = LEVEL.exec(line)?.[1];
    return isLevel(level) ? `<${String(PRIORITIES[level])}>${line}` : line;
  };
  return {
    ...plain,
    write: (lines, done) => {
      plain.write(lines.split('\n').map(withPriority).join('\n'), done);
    },
  };
}

function isLevel(text: string | undefined): text is LogLevel {
  return text !== undefined && Object.hasOwn(PRIORITIES, text);
}

function terminal(stderr: Stderr, color: boolean): LogOutput {
  const prettify = pretty.prettyFactory({
    ignore: 'process,pid,hostname',
    messageFormat: '[{process}] {msg}',
    colorize: color,
  });
  const plain = pipe(stderr);
  return {
    ...plain,
    // EIO: the terminal is closed.
    final: new Set([...plain.final, 'EIO']),
    write: (lines, done) => {
      const shown = lines.split('\n').map((line) => (line === '' ? '' : prettify(line)));
      plain.write(shown.join(''), done);
    },
  };
}
