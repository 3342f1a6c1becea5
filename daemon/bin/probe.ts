// Entry point of the probe of `bmuxd doctor`: takes one task, answers, and ends. A native package that aborts ends only this process.
import { probe } from '../engine/probe/probe.ts';
import type { ProbeTask } from '../engine-protocol/probe.ts';

process.once('message', (task) => {
  void probe(task as ProbeTask, process.env).then((result) => {
    process.send?.(result, () => process.exit(0));
  });
});
// Nobody waits for the answer any more. The group is this process and every ssh below it.
process.once('disconnect', () => process.kill(-process.pid, 'SIGTERM'));
