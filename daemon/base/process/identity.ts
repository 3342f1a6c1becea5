// Which process wrote a file, and whether it still runs. An id alone may belong to a later process, or to one of another pid namespace.
import { readFileSync, readlinkSync } from 'node:fs';
import { uptime } from 'node:os';
import { errnoOf } from '../failure.ts';

/** Without /proc only the id is known. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Ticks from the start of the system to that of the process. */
  readonly start?: string;
  /** The pid namespace in which the id counts. */
  readonly namespace?: string;
}

export function ownIdentity(): ProcessIdentity {
  return identityOf(process.pid);
}

/** Of a process in the pid namespace of this one. */
export function identityOf(pid: number): ProcessIdentity {
  const start = statOf(pid)?.start;
  const namespace = ownNamespace();
  return {
    pid,
    ...(start === undefined ? {} : { start }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

/** ms of a tick of proc(5). */
const TICK_MS = 10;

/** When this process was started, epoch ms. Node's own time begins later, on a busy machine much later. */
export function startedAt(): number {
  const start = statOf(process.pid)?.start;
  if (start === undefined) return performance.timeOrigin;
  // A container may have an uptime of its own, with which the result would be in the future.
  return Math.min(performance.timeOrigin, Date.now() - uptime() * 1000 + Number(start) * TICK_MS);
}

/** ms since the process was started; Infinity where the system does not tell. */
export function ageOf({ start }: ProcessIdentity): number {
  if (start === undefined) return Infinity;
  const ms = uptime() * 1000 - Number(start) * TICK_MS;
  // A container may have an uptime of its own.
  return ms < 0 ? Infinity : ms;
}

/** Whether the process runs; undefined when it is in another pid namespace, where this process cannot see it. */
export function isRunning({ pid, start, namespace }: ProcessIdentity): boolean | undefined {
  if (namespace !== undefined && namespace !== ownNamespace()) return undefined;
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  const now = statOf(pid);
  // A zombie has ended, but its parent has not called wait(2) yet.
  if (now !== undefined) return now.state !== 'Z' && (start === undefined || start === now.start);
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

/** State and start of a process, fields 3 and 22 of proc(5); undefined where there is no such file. */
function statOf(
  pid: number,
): { readonly state: string | undefined; readonly start: string | undefined } | undefined {
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    // The name in field 2 may contain spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], start: fields[19] };
  } catch {
    return undefined;
  }
}

function ownNamespace(): string | undefined {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return undefined;
  }
}
