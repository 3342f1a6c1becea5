// Writes control's log to stderr: JSON lines, or readable lines on a terminal. A failing or blocked stderr must not stop or delay the daemon.
import pretty from 'pino-pretty';
import type { LogSink } from '../../base/log.ts';

/** Bytes buffered while nobody reads stderr. Beyond that lines are dropped, which bounds the memory of the daemon. */
const MAX_KEPT_BYTES = 1024 * 1024;

export function stderrSink(stderr: NodeJS.WriteStream): LogSink {
  let gone = false;
  // EIO when the terminal is closed, EPIPE when the reader has exited. The daemon continues without a log.
  stderr.on('error', () => {
    gone = true;
  });
  const kept: LogSink = {
    write: (line) => {
      if (!gone && stderr.writableLength < MAX_KEPT_BYTES) stderr.write(line);
    },
  };
  if (!stderr.isTTY) return kept;
  const prettify = pretty.prettyFactory({
    ignore: 'process,pid,hostname',
    messageFormat: '[{process}] {msg}',
    colorize: true,
  });
  return {
    write: (lines) => {
      for (const line of lines.split('\n')) if (line !== '') kept.write(prettify(line));
    },
  };
}
