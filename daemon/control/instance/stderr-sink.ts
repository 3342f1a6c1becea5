// Writes control's log to stderr: JSON lines, or readable lines on a terminal. A failing or blocked stderr must not stop or delay the daemon.
import { fstatSync } from 'node:fs';
import pretty from 'pino-pretty';
import type { Failure } from '../../base/failure.ts';
import { WholeLines } from '../../base/files/write-whole.ts';
import type { LogSink } from '../../base/log.ts';
import { LossyLog, type LogOutput } from '../../base/lossy-log.ts';
import { fail } from '../../errors/fail.ts';

/** Bytes buffered while nobody reads stderr. Beyond that lines are dropped, which bounds the memory of the daemon. */
const MAX_KEPT_BYTES = 1024 * 1024;

/** Where control's log goes. */
export interface ControlSink extends LogSink {
  /** A cause of `degraded`. A log whose reader has gone is none: the user may have closed the terminal. */
  readonly problem: Failure | undefined;
}

/** The part of `process.stderr` that is used. */
type Stderr = { readonly fd: number } & Pick<NodeJS.WriteStream, 'isTTY' | 'writableLength' | 'write' | 'on'>;

export function stderrSink(stderr: Stderr): ControlSink {
  const log = new LossyLog({ process: 'control', output: outputOf(stderr) });
  return {
    write: (lines) => {
      log.write(lines);
    },
    get problem() {
      return log.loss && fail('log_unwritable', log.loss);
    },
  };
}

function outputOf(stderr: Stderr): LogOutput {
  // Every failed write is told to its callback.
  stderr.on('error', () => undefined);
  if (stderr.isTTY) return terminal(stderr);
  return isFile(stderr.fd) ? file(stderr.fd) : pipe(stderr);
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

function file(fd: number): LogOutput {
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

function terminal(stderr: Stderr): LogOutput {
  const prettify = pretty.prettyFactory({
    ignore: 'process,pid,hostname',
    messageFormat: '[{process}] {msg}',
    colorize: true,
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
