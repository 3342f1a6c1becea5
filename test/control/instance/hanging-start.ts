// A start that hangs where no JavaScript can end it: opening a FIFO that nobody writes to. Its path is the argument.
import { execFileSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { untilSignal } from '../../../daemon/cli/until-signal.ts';

const [, , fifo = ''] = process.argv;
execFileSync('mkfifo', [fifo]);
process.stderr.write('starting\n');
await untilSignal(async () => {
  await open(fifo);
  throw new Error('somebody writes to the FIFO');
}, 300);
