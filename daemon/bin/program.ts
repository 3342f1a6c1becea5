// Runs one command line of `bmuxd` in this process.
import { workingDirectory } from '../../client-shim/control-socket.ts';
import { errnoOf } from '../base/failure.ts';
import { packageVersion } from '../base/version.ts';
import { main } from '../cli/main.ts';
import { rememberTerminal } from '../cli/terminal.ts';

/** ms after the end of the daemon in which refused clients may still read their answers. */
const LAST_MS = 250;

/** Sets the exit status when the command has ended. Never rejects. */
export async function runProgram(): Promise<void> {
  // The terminal may be closed while the daemon runs.
  process.on('exit', rememberTerminal());

  let unwritten = false;
  // EPIPE is no error: the reader has exited, as in `bmuxd streams | head`. Any other failed write is one, for example on a full disk.
  process.stdout.on('error', (error: Error) => {
    if (errnoOf(error) === 'EPIPE') return;
    process.stderr.write(`bmuxd: cannot write the output: ${error.message}\n`);
    process.exitCode = 1;
    unwritten = true;
  });
  process.stderr.on('error', () => undefined);

  const status = await main(process.argv.slice(2), {
    env: process.env,
    cwd: workingDirectory(),
    version: packageVersion(),
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    stdout: process.stdout,
    stderr: process.stderr,
  });
  if (!unwritten) process.exitCode = status;

  // The daemon has removed its sockets. Refused clients and timers of packages may still keep the process running, so it exits after
  // `LAST_MS`. The other commands have no such timeout: they end when their output has been read.
  if (process.argv[2] === 'run') setTimeout(() => process.exit(), LAST_MS).unref();
}
