#!/usr/bin/env node
// Entry point of `bmuxd`.
import { packageVersion } from '../base/version.ts';
import { main } from '../cli/cli.ts';
import { rememberTerminal } from '../cli/terminal.ts';

// A daemon may outlive its terminal.
process.on('exit', rememberTerminal());

// A reader that went away (`bmuxd streams | head`) is no error.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

/** ms that a refused client may still take to read its answer. */
const LAST_MS = 250;

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  version: packageVersion(),
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  stdout: process.stdout,
  stderr: process.stderr,
});

// The daemon has left its socket: what still holds the process (clients that were refused, timers of packages) has a moment, and no
// more. The other commands end by themselves, however slowly their output is read.
if (process.argv[2] === 'run') setTimeout(() => process.exit(), LAST_MS).unref();
