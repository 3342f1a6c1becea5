// Processes that get little of a CPU, as on a machine with too much work.
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { onPath } from '../real/index.ts';

/** Why there can be no crowd; false where there can. */
export const noCrowd = onPath('taskset') === undefined && 'taskset not found';

/** Three programs that share one CPU and never rest. */
export function crowd(t: Test): ChildProcess[] {
  const cpu = /Cpus_allowed_list:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const busy = [1, 2, 3].map(() => spawn('taskset', ['-c', cpu, 'sh', '-c', 'while :; do :; done']));
  t.teardown(() => {
    for (const child of busy) child.kill('SIGKILL');
  });
  return busy;
}
