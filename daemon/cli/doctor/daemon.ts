// What the doctor finds of a running daemon: whether it answers, who it is, and what it reports itself.
import { isStatus } from '../../api/answer-shapes.ts';
import { bmuxdPaths } from '../../base/paths.ts';
import { Failure } from '../../base/failure.ts';
import { loadSettings } from '../../config/settings/load.ts';
import { fail } from '../../errors/fail.ts';
import { askControl, STATUS_NOW } from '../ask-control.ts';
import { shortened } from '../table.ts';
import { installedService } from '../service/installed.ts';
import { finding, type Check, type Row, type Surroundings } from './row.ts';

export const daemon: Check = async (surroundings) => {
  const area = 'daemon';
  const { env, version } = surroundings;
  let status;
  try {
    status = await askControl(env, STATUS_NOW, isStatus);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'daemon_not_running') throw error;
    return [await notRunning(surroundings, error)];
  }
  const rows: Row[] = [
    {
      area,
      what: status.state,
      detail: `process ${String(status.pid)}, ${status.version}, ${status.socket}`,
    },
    ...status.engines.map(({ generation, pid, state, streams }) => ({
      area,
      what: `engine ${generation}`,
      detail: `process ${String(pid)}, ${state}, ${String(streams)} streams`,
    })),
    ...status.upstreams.map(({ target, state, lastError }) => ({
      area,
      what: shortened(target),
      detail: lastError === undefined ? state : `${state}, last error ${lastError.code}: ${lastError.detail}`,
    })),
    ...status.problems.map(({ where, failure }) => ({ area, what: where, detail: failure.detail, failure })),
  ];
  // A daemon whose files were replaced says so itself.
  const isSaid = status.problems.some(({ failure }) => failure.code === 'restart_due');
  if (status.version !== version && !isSaid)
    rows.push(finding(area, 'version', fail('restart_due', { installed: version, running: status.version })));
  return rows;
};

/** Without a daemon all is well where a command would start one. */
async function notRunning({ env, platform }: Surroundings, failure: Failure): Promise<Row> {
  const paths = bmuxdPaths(env, platform);
  const { whoRuns } = await import('../../control/instance/who-runs.ts');
  const other = await whoRuns(paths.instanceSocket);
  if (other !== undefined) return finding('daemon', 'instance', other);
  const { autostart } = (await loadSettings(paths.settings)).settings;
  const starts = autostart === 'auto' ? installedService(env, platform) === undefined : autostart;
  if (!starts) return finding('daemon', 'not running', failure);
  return { area: 'daemon', what: 'not running', detail: 'the first command starts it' };
}
