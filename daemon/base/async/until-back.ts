// Asks a process again whose socket is away: a cleaner has removed it, and the process binds it again.
import { LIMITS } from '../limits.ts';
import { monotonicMs } from './monotonic.ts';
import { sleep } from './sleep.ts';

/** ms between two looks for the socket. */
const LOOK_MS = 20;

/**
 * Calls `ask` until it resolves with an answer; undefined means that nobody could be asked. Gives up after `LIMITS.endAwayMs`, and at once when the
 * process `isDead`.
 */
export async function askUntilBack<T>(
  ask: () => Promise<T | undefined>,
  isDead: () => boolean = () => false,
): Promise<T | undefined> {
  const until = monotonicMs() + LIMITS.endAwayMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined || isDead() || monotonicMs() > until) return answer;
    await sleep(LOOK_MS);
  }
}
