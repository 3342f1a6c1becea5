// Whether the service manager of this user ends, as at the last logout or a shutdown. The system kills what is left of its services then:
// the engines, with their live streams.
import { LIMITS } from '../../base/limits.ts';
import type { Env } from '../../base/paths.ts';
import { outputOf } from '../../base/process/output-of.ts';

/** Asks the manager whose service a process is that has the parent `parent`; false where there is none, and where it does not answer. */
export async function managerEnds(env: Env, parent: number): Promise<boolean> {
  if (env['MANAGERPID'] !== String(parent)) return false;
  const limits = { env, ms: LIMITS.managerStateMs };
  // Its exit status is that of no success in each state but `running`.
  const { stdout } = await outputOf('systemctl', ['--user', 'is-system-running'], limits);
  return stdout.trim() === 'stopping';
}
