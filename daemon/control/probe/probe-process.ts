// Runs the probe in a process of its own, within a time limit.
import { fork, type ChildProcess } from 'node:child_process';
import { onSilence } from '../../base/async/deadline.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Env } from '../../base/paths.ts';
import { programPath } from '../../base/version.ts';
import type { ProbeResult, ProbeTask } from '../../engine-protocol/probe.ts';
import { fail } from '../../errors/fail.ts';

/** Resolves with what the probe found. It has died when the result has `engine_lost`. */
export function runProbe(task: ProbeTask, env: Env): Promise<ProbeResult> {
  const child = fork(programPath('probe'), [], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: { ...env },
    // In a session of its own: no ssh below it asks anybody at the terminal of this process.
    detached: true,
  });
  const failed = (why: string, cause?: Error): ProbeResult => {
    const failure = fail('engine_lost', { why: `the probe of bmuxd doctor: ${why}` }, cause).data;
    return { packages: [], steps: [], failure };
  };
  return new Promise((resolve) => {
    const ms = (task.plan?.budgetMs ?? LIMITS.engineStartMs) + LIMITS.reachMs;
    const over = onSilence(ms, () => {
      endWithAllBelow(child);
      resolve(failed(`no result within ${String(Math.round(ms))} ms`));
    });
    child.once('message', (result) => {
      over();
      resolve(result as ProbeResult);
    });
    child.once('error', (error) => {
      over();
      resolve(failed(error.message, error));
    });
    // Its end may be seen before its answer has been read.
    child.once('close', (status, signal) => {
      over();
      resolve(failed(signal ?? `exit status ${String(status)}`));
    });
    // Without descriptors there is neither a process nor a channel, and 'error' follows.
    if (child.connected) child.send(task, () => undefined);
  });
}

/** Ends it with the processes that it has started: it leads their group. */
function endWithAllBelow({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // They have ended meanwhile.
  }
}
