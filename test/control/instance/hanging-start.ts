// A start that hangs in a system call, which JavaScript cannot interrupt: it opens a FIFO without a writer. The argument is the path.
import { execFileSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { untilSignal } from '../../../daemon/cli/until-signal.ts';

const [, , fifo = ''] = process.argv;
execFileSync('mkfifo', [fifo]);
process.stderr.write('starting\n');
await untilSignal(async () => {
  await open(fifo);
  throw new Error('the FIFO has a writer');
}, 300);
