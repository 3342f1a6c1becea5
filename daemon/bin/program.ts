// Runs one command line of `bmuxd` in this process.
import { workingDirectory } from '../../client-shim/control-socket.ts';
import { packageVersion } from '../base/version.ts';
import { main } from '../cli/main.ts';
import { SH_EXEC, ShellInFront } from '../cli/shell/shell-in-front.ts';
import { Output } from './output.ts';

/** Sets the exit status when the command has ended. Never rejects. */
export async function runProgram(prepared?: Output): Promise<void> {
  const [, , name = '', ...rest] = process.argv;
  const output = prepared ?? new Output(name === 'run');
  const shell = name === SH_EXEC ? new ShellInFront() : undefined;
  const status = await main(shell === undefined ? process.argv.slice(2) : ['exec', ...rest], {
    env: process.env,
    cwd: workingDirectory(),
    version: packageVersion(),
    out: shell?.out ?? ((text) => process.stdout.write(text)),
    err: (text) => output.stderr.write(text),
    stdout: process.stdout,
    stderr: output.stderr,
    shell,
  });
  if (shell !== undefined && status === 0) process.stdout.write(shell.program);
  output.end(status);
}
