// Which service of this user runs bmuxd, if one is installed.
import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { homeOf, type Env } from '../../base/paths.ts';

/** Name of the unit of systemd, and label of the agent of launchd. */
export const UNIT = 'bmuxd.service';
export const AGENT_LABEL = 'dev.bmux.bmuxd';

export interface InstalledService {
  readonly manager: 'systemd' | 'launchd';
  /** The unit file or property list. */
  readonly file: string;
  /** Where its log is: `journal`, or the path of a file. */
  readonly log: string;
}

/** Folder of this user's own units. */
export function userUnits(env: Env): string {
  return join(configHome(env), 'systemd', 'user');
}

/** Folders of the units of a user, the user's own first: systemd.unit(5). */
function unitFolders(env: Env): readonly [string, ...string[]] {
  return [userUnits(env), '/etc/systemd/user', '/usr/local/lib/systemd/user', '/usr/lib/systemd/user'];
}

/** Path of the property list of the agent. */
export function agentFile(env: Env): string {
  return join(homeOf(env), 'Library', 'LaunchAgents', `${AGENT_LABEL}.plist`);
}

/** Path of the log of the agent. */
export function agentLog(env: Env): string {
  return join(homeOf(env), 'Library', 'Logs', 'bmuxd', 'daemon.log');
}

/** The service that is installed for this user; undefined when there is none. */
export function installedService(
  env: Env,
  platform: NodeJS.Platform = process.platform,
): InstalledService | undefined {
  if (platform === 'darwin') {
    const file = agentFile(env);
    return existsSync(file) ? { manager: 'launchd', file, log: agentLog(env) } : undefined;
  }
  const file = unitFolders(env)
    .map((folder) => join(folder, UNIT))
    .find((path) => existsSync(path));
  return file === undefined ? undefined : { manager: 'systemd', file, log: 'journal' };
}

function configHome(env: Env): string {
  const named = env['XDG_CONFIG_HOME'];
  return named !== undefined && isAbsolute(named) ? named : join(homeOf(env), '.config');
}
