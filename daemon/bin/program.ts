// Runs one command line of `bmuxd` in this process.
import { workingDirectory } from '../../client-shim/control-socket.ts';
import { errnoOf } from '../base/failure.ts';
import { keepBlocking } from '../base/node-internals.ts';
import { packageVersion } from '../base/version.ts';
import { main } from '../cli/main.ts';
import { SH_EXEC, ShellInFront } from '../cli/shell/shell-in-front.ts';
import { rememberTerminal } from '../cli/terminal.ts';

/** ms after the end of the daemon in which refused clients may still read their answers. */
const LAST_MS = 250;

/** Sets the exit status when the command has ended. Never rejects. */
export async function runProgram(): Promise<void> {
  const [, , name = '', ...rest] = process.argv;
  // The terminal may be closed while the daemon runs.
  process.on('exit', rememberTerminal());
  // Other processes write to the same pipes. The daemon does not wait for a reader of its log.
  if (name !== 'run') for (const stream of [process.stdout, process.stderr]) keepBlocking(stream);

  let unwritten = false;
  // EPIPE is no error: the reader has exited, as in `bmuxd streams | head`. Any other failed write is one, for example on a full disk.
  process.stdout.on('error', (error: Error) => {
    if (errnoOf(error) === 'EPIPE') return;
    process.stderr.write(`bmuxd: cannot write the output: ${error.message}\n`);
    process.exitCode = 1;
    unwritten = true;
  });
  process.stderr.on('error', () => undefined);

  const shell = name === SH_EXEC ? new ShellInFront() : undefined;
  const status = await main(shell === undefined ? process.argv.slice(2) : ['exec', ...rest], {
    env: process.env,
    cwd: workingDirectory(),
    version: packageVersion(),
    out: shell?.out ?? ((text) => process.stdout.write(text)),
    err: (text) => process.stderr.write(text),
    stdout: process.stdout,
    stderr: process.stderr,
    shell,
  });
  if (shell !== undefined && status === 0) process.stdout.write(shell.program);
  if (!unwritten) process.exitCode = status;

  // The daemon has removed its sockets. Refused clients and timers of packages may still keep the process running, so it exits after
  // `LAST_MS`. The other commands have no such timeout: they end when their output has been written.
  if (name === 'run') setTimeout(() => process.exit(), LAST_MS).unref();
  else setImmediate(exitWhenWritten);
}

/** Node frees its heap at an end by itself, and not at an exit. A failed write is told before the turn of the event loop in which this is called. */
function exitWhenWritten(): void {
  if (process.stdout.writableLength + process.stderr.writableLength === 0) process.exit();
}
