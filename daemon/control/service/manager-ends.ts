// Whether the service manager of this user ends, as at the last logout or a shutdown. The system kills what is left of its services then:
// the engines, with their live streams.
import { execFile } from 'node:child_process';
import { LIMITS } from '../../base/limits.ts';
import type { Env } from '../../base/paths.ts';

/** Asks the manager whose service a process is that has the parent `parent`; false where there is none, and where it does not answer. */
export function managerEnds(env: Env, parent: number): Promise<boolean> {
  if (env['MANAGERPID'] !== String(parent)) return Promise.resolve(false);
  const options = { env, timeout: LIMITS.managerStateMs, killSignal: 'SIGKILL' } as const;
  return new Promise((resolve) => {
    // Its exit status is that of no success in each state but `running`.
    execFile('systemctl', ['--user', 'is-system-running'], options, (_error, state) => {
      resolve(state.trim() === 'stopping');
    });
  });
}
