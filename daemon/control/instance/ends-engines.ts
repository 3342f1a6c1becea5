// Whether the end of this process ends its engines, too, although they run in sessions of their own.
import { readlinkSync } from 'node:fs';
import type { Env } from '../../base/paths.ts';

/** Name of the pid namespace of the system itself: PROC_PID_INIT_INO of Linux. */
const SYSTEM = 'pid:[4026531836]';

export interface OwnProcess {
  readonly pid: number;
  /** At the start of this process: later it may be the process 1 that has taken it in. */
  readonly parent: number;
  /** The pid namespace; undefined where the system has none. */
  readonly namespace: string | undefined;
}

export function ownProcess(): OwnProcess {
  let namespace: string | undefined;
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // No Linux, or no /proc.
  }
  return { pid: process.pid, parent: process.ppid, namespace };
}

/**
 * The kernel kills all processes of a pid namespace when its process 1 exits. Such a process that only starts another one, as tini, exits
 * with that. Where systemd is the process 1, it has started this one as a service.
 */
export function endsEngines({ pid, parent, namespace, env }: OwnProcess & { readonly env: Env }): boolean {
  if (pid === 1) return true;
  const isSystem = namespace === undefined || namespace === SYSTEM;
  return parent === 1 && !isSystem && env['INVOCATION_ID'] === undefined;
}
