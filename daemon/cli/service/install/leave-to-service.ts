// A daemon that was started by hand leaves before its service starts: two cannot have one runtime dir. Its engine serves the live streams on.
import { sleep } from '../../../base/async/sleep.ts';
import { LIMITS } from '../../../base/limits.ts';
import { isRunning } from '../../../base/process/identity.ts';
import type { CommandContext } from '../../command.ts';
import { UNIT } from '../installed.ts';
import { runningHealth } from '../start.ts';
import { ask, systemctl } from './manager.ts';

/** ms between two looks whether it has left. */
const LOOK_MS = 20;

export async function leaveToService({ env, out }: CommandContext): Promise<void> {
  const health = await runningHealth(env).catch(() => undefined);
  if (health === undefined || health.pid <= 1) return;
  const { text } = await ask(env, systemctl('show', '--property=MainPID', '--value', UNIT));
  if (text === String(health.pid)) return;
  out(`bmuxd with pid ${String(health.pid)} leaves to the service; live streams go on\n`);
  process.kill(health.pid, 'SIGTERM');
  const until = performance.now() + LIMITS.stopMs;
  while (isRunning({ pid: health.pid }) === true && performance.now() < until) await sleep(LOOK_MS);
}
