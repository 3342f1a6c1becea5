// Writes an engine's log. Lines are sent to control while it lives, else they are appended to a file of limited size. The engine
// cannot log to its stdout: control starts it without one.
import { join } from 'node:path';
import type { Failure } from '../base/failure.ts';
import { boundedLogFile } from '../base/files/bounded-log-file.ts';
import { makeLogger, type Logger, type LogSink } from '../base/log.ts';
import { LossyLog } from '../base/lossy-log.ts';
import { fail } from '../errors/fail.ts';
import type { EngineStart } from '../engine-protocol/messages.ts';
import type { ControlLink } from './control/control-link.ts';

/** Lines of these levels may wait for others. Warnings and errors are sent at once, since a crash may follow them. */
const ROUTINE = /^\{"level":"(trace|debug|info)"/;
/** Characters that may be on their way to control. Beyond that control does not read its channel, and lines go to the file. */
const MAX_UNDER_WAY = 1024 * 1024;
/** Routine lines are sent together after this many ms, or after `MAX_WAITING` characters: a message costs more than the line in it. */
const WAIT_MS = 20;
const MAX_WAITING = 16 * 1024;

export interface EngineSink extends LogSink {
  /** Sends or writes the lines that wait. */
  flush(): void;
  /** Why lines cannot be written to the file now, and how many are lost. */
  readonly problem: Failure | undefined;
}

/** The engine's logger and its sink. `flush` also sends what else waits for control. */
export function engineLog(
  start: Pick<EngineStart, 'generation' | 'stateDir' | 'settings'>,
  control: ControlLink,
): { readonly log: Logger; readonly sink: EngineSink; readonly flush: () => void } {
  const name = `engine ${start.generation}`;
  const sink = engineSink({ file: join(start.stateDir, 'engine.log'), process: name, control });
  const log = makeLogger({ level: start.settings['log.level'], process: name, sink });
  const flush = (): void => {
    sink.flush();
    control.flush();
  };
  return { log, sink, flush };
}

export function engineSink(options: {
  readonly file: string;
  /** As in `makeLogger`. */
  readonly process: string;
  readonly control: Pick<ControlLink, 'tell' | 'flush'>;
}): EngineSink {
  let underWay = 0;
  let waiting = '';
  let timer: NodeJS.Timeout | undefined;
  /** True once control was gone. The channel does not open again, so every line is written at once: a waiting one could be lost. */
  let alone = false;
  // An engine without control logs a line per ended stream.
  const file = new LossyLog({ process: options.process, output: boundedLogFile(options.file) });
  const toFile = (lines: string): void => {
    file.write(lines);
  };
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const lines = waiting;
    waiting = '';
    if (lines === '') return;
    if (underWay < MAX_UNDER_WAY) {
      underWay += lines.length;
      const sent = (error: Error | null): void => {
        underWay -= lines.length;
        if (error !== null) toFile(lines);
      };
      if (options.control.tell({ type: 'log', line: lines }, sent)) return;
      underWay -= lines.length;
      alone = true;
    }
    toFile(lines);
  };
  return {
    flush,
    get problem() {
      return file.loss && fail('log_unwritable', file.loss);
    },
    write: (line) => {
      waiting += line;
      if (!ROUTINE.test(line)) {
        flush();
        options.control.flush();
      } else if (alone || waiting.length >= MAX_WAITING) flush();
      else timer ??= setTimeout(flush, WAIT_MS);
    },
  };
}
