// Entry point of the probe of `bmuxd doctor`: takes one task, answers, and ends. A native package that aborts ends only this process.
import { probe } from '../engine/probe/probe.ts';
import type { ProbeTask } from '../engine-protocol/probe.ts';

/** The group is this process and every ssh below it, also one to a jump host that has lost its ssh. */
const end = (): true => process.kill(-process.pid, 'SIGTERM');

process.once('message', (task) => {
  void probe(task as ProbeTask, process.env).then((result) => {
    process.send?.(result, end);
  });
});
// Nobody waits for the answer any more.
process.once('disconnect', end);
