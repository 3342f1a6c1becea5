// A sandbox in which the process of the test is the service manager: it holds the sockets, and starts daemons with them.
import type { ChildProcess } from 'node:child_process';
import type { Test } from 'tap';
import { run } from '../real/server.ts';
import { BMUXD, makeSandbox, type Sandbox } from './bmuxd.ts';
import { PassedSockets } from './passed-sockets.ts';

export interface UnderManager {
  readonly sandbox: Sandbox;
  /** Starts `bmuxd run` with the sockets. */
  readonly start: () => ChildProcess;
}

/** All of it ends with the test. `settings`: the text of `bmuxd.toml`. */
export async function underManager(t: Test, settings = ''): Promise<UnderManager> {
  const sandbox = await makeSandbox({ config: '[general]\nserver_timeout = 30000\n', settings });
  t.teardown(() => sandbox.remove());
  t.teardown(() => run(process.execPath, [BMUXD, 'stop'], sandbox.env));
  const passed = await PassedSockets.hold(sandbox);
  t.teardown(() => {
    passed.close();
  });
  const start = (): ChildProcess => {
    const child = passed.start(BMUXD, sandbox.env);
    t.teardown(() => child.kill('SIGKILL'));
    return child;
  };
  return { sandbox, start };
}
