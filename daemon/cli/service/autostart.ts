// Commands that need a daemon start one when none runs, where the user and the settings allow that.
import { Failure } from '../../base/failure.ts';
import { bmuxdPaths } from '../../base/paths.ts';
import { accepts } from '../../../client-shim/probe.ts';
import type { CommandContext } from '../command.ts';
import { installedService } from './installed.ts';

/**
 * Starts the daemon if none runs and that is allowed. Rejects with the reason why it could not be started, or with `target_unknown` for a
 * target that the config does not have.
 */
export async function startIfNeeded(
  { env, cwd, options, err, stderr }: CommandContext,
  target = '',
): Promise<void> {
  const { controlSocket, settings: path } = bmuxdPaths(env);
  if (options['no-start'] === true || (await accepts(controlSocket))) return;
  // Loaded here, because most commands find a daemon.
  const { loadSettings } = await import('../../config/settings/load.ts');
  const { autostart } = (await loadSettings(path)).settings;
  if (autostart === false || (autostart === 'auto' && installedService(env) !== undefined)) return;
  if (target !== '') {
    const { unknownTarget } = await import('../../control/planning/unknown-target.ts');
    const unknown = await unknownTarget(target, { env, cwd });
    if (unknown !== undefined) throw new Failure(unknown);
  }
  const { startDaemon } = await import('./start.ts');
  const { isNew, health } = await startDaemon(env, cwd);
  if (isNew && stderr.isTTY) err(`bmuxd: started, log ${health.log ?? 'unknown'}\n`);
}
