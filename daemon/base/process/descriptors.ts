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
