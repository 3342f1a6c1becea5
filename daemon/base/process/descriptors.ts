// How many files a process may have open at once.
import { readFileSync } from 'node:fs';

/** Assumed where the limit cannot be read. */
const USUAL_DESCRIPTORS = 1024;

/** File descriptors that this process, or the one with this id, may have. Node raises the soft limit to the hard one when it starts. */
export function descriptorLimit(pid: number | 'self' = 'self'): number {
  try {
    const soft = /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${String(pid)}/limits`, 'utf8'))?.[1];
    return soft === undefined ? USUAL_DESCRIPTORS : Number(soft);
  } catch {
    return USUAL_DESCRIPTORS;
  }
}

/** Kept for what must always work: to refuse a client, and to be asked how the process is. */
const RESERVE = 16;
const RESERVE_SHARE = 1 / 8;

/**
 * Whether `descriptor` is one of the last that a process with this limit may have. The kernel gives the lowest that is free, so all below it
 * are in use.
 */
export function isInReserve(descriptor: number, limit: number): boolean {
  return descriptor >= limit - Math.min(RESERVE, Math.floor(limit * RESERVE_SHARE));
}
