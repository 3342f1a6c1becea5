// How much memory a process that runs for months takes beside what it needs.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Percent that the old space may grow by before the next collection. V8 lets a heap of 20 MB grow to 60 under load, and gives that back
 * only after some 20 s without any; with 30 it stays within 30, at the same time per hand-off [measured].
 */
const GROWING_PERCENT = 30;

/** ms between two looks, how many quiet ones make a rest, and ms of the processor in which a look is quiet: 2 %. */
const LOOK_MS = 1000;
const QUIET_LOOKS = 5;
const QUIET_CPU_MS = 20;
/** ms of the processor after which there is something to give back; at a keystroke now and then that takes minutes. */
const WORK_CPU_MS = 1000;
/** V8 gives the new space back in a collection when little was allocated in the last 5 s, as it was counted at the one before. */
const COLLECTIONS = 2;

/** For the long-running processes; called before they do anything. A V8 that does not know a flag says so on stderr and goes on. */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${String(GROWING_PERCENT)}`);
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('typeof gc === "function" ? gc : undefined');
  if (isCollector(collect)) giveBackAtRest(collect);
}

/**
 * Collects when the process has worked and is at rest. V8 does that by itself at some time, or never: what a start or a burst has taken stays
 * for as long as little happens. Lives as long as the process, and does not keep it.
 */
function giveBackAtRest(collect: () => void): void {
  let quiet = 0;
  let owed = COLLECTIONS;
  let last = cpuMs();
  let worked = 0;
  setInterval(() => {
    const now = cpuMs();
    const used = now - last;
    last = now;
    worked += used;
    if (worked >= WORK_CPU_MS) owed = COLLECTIONS;
    // After the first collection V8 goes on sweeping for a while: that is no work.
    const between = owed > 0 && owed < COLLECTIONS;
    quiet = used < QUIET_CPU_MS ? quiet + 1 : 0;
    if (owed === 0 || (quiet < QUIET_LOOKS && !between)) return;
    worked = 0;
    owed -= 1;
    collect();
  }, LOOK_MS).unref();
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function isCollector(value: unknown): value is () => void {
  return typeof value === 'function';
}
