// Runs one command line of `bmuxd` in this process.
import { join } from 'node:path';
import { workingDirectory } from '../../client-shim/control-socket.ts';
import type { Failure } from '../base/failure.ts';
import { packageRoot, packageVersion } from '../base/version.ts';
import { main } from '../cli/main.ts';
import { SH_EXEC, ShellInFront } from '../cli/shell/shell-in-front.ts';
import { fail } from '../errors/fail.ts';
import { asText } from '../errors/text.ts';
import { Output } from './output.ts';

/** Sets the exit status when the command has ended. Never rejects. */
export async function runProgram(prepared?: Output): Promise<void> {
  const [, , name = '', ...rest] = process.argv;
  const output = prepared ?? new Output(name === 'run');
  const version = ownVersion();
  if (typeof version !== 'string') {
    output.stderr.write(asText(version, 'bmuxd'));
    output.end(version.data.exitStatus);
    return;
  }
  const shell = name === SH_EXEC ? new ShellInFront() : undefined;
  const status = await main(shell === undefined ? process.argv.slice(2) : ['exec', ...rest], {
    env: process.env,
    cwd: workingDirectory(),
    version,
    out: shell?.out ?? ((text) => process.stdout.write(text)),
    err: (text) => output.stderr.write(text),
    stdout: process.stdout,
    stderr: output.stderr,
    shell,
  });
  if (shell !== undefined && status === 0) process.stdout.write(shell.program);
  output.end(status);
}

/** An install that runs now may have removed the file, or may not have written all of it. */
function ownVersion(): string | Failure {
  try {
    return packageVersion();
  } catch (error) {
    const path = join(packageRoot(), 'package.json');
    return error instanceof SyntaxError
      ? fail('package_being_written', { path })
      : fail('package_away', { path }, error);
  }
}
