#!/usr/bin/env node
// Entry point of `bmuxd`.
import { workingDirectory } from '../../client-shim/control-socket.ts';
import { errnoOf } from '../base/failure.ts';
import { packageVersion } from '../base/version.ts';
import { main } from '../cli/main.ts';
import { rememberTerminal } from '../cli/terminal.ts';

// A daemon may outlive its terminal.
process.on('exit', rememberTerminal());

let unwritten = false;
// A reader that went away (`bmuxd streams | head`) is no error; an output that is lost is (a full disk).
process.stdout.on('error', (error: Error) => {
  if (errnoOf(error) === 'EPIPE') return;
  process.stderr.write(`bmuxd: cannot write the output: ${error.message}\n`);
  process.exitCode = 1;
  unwritten = true;
});
process.stderr.on('error', () => undefined);

/** ms that a refused client may still take to read its answer. */
const LAST_MS = 250;

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

// The daemon has left its socket: what still holds the process (clients that were refused, timers of packages) has a moment, and no
// more. The other commands end by themselves, however slowly their output is read.
if (process.argv[2] === 'run') setTimeout(() => process.exit(), LAST_MS).unref();
