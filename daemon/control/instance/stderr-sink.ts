// Where control's log goes: stderr, JSON lines; readable when a terminal looks on. Nothing that happens to stderr may end or hold the broker.
import pretty from 'pino-pretty';
import type { LogSink } from '../../base/log.ts';

/** Bytes kept for a reader that does not read. Beyond that lines are dropped: a log is not worth the broker's memory. */
const MAX_KEPT_BYTES = 1024 * 1024;

export function stderrSink(stderr: NodeJS.WriteStream): LogSink {
  let gone = false;
  // EIO when the terminal is gone, EPIPE when the reader is: the daemon goes on without a log.
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
