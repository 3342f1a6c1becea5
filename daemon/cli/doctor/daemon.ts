// What the doctor finds of a running daemon: whether it answers, who it is, and what it reports itself.
import { isStatus } from '../../api/answer-shapes.ts';
import { bmuxdPaths, type Env } from '../../base/paths.ts';
import { Failure } from '../../base/failure.ts';
import { descriptorLimit } from '../../base/process/descriptors.ts';
import { loadSettings } from '../../config/settings/load.ts';
import { fail } from '../../errors/fail.ts';
import { askControl, STATUS_NOW } from '../ask-control.ts';
import { versionIsSaid } from '../daemon-version.ts';
import { shortened } from '../table.ts';
import { installedService } from '../service/installed.ts';
import { runningHealth, socketMismatch } from '../service/start.ts';
import { finding, type Check, type ReportRow, type Examined } from './row.ts';

/** Files that a process of bmuxd should be allowed to open. Its remedies name this number. */
const ENOUGH_FILES = 1024;

export const daemon: Check = async (surroundings) => {
  const area = 'daemon';
  const { env, version } = surroundings;
  let status;
  try {
    status = await askControl(env, STATUS_NOW, isStatus);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'daemon_not_running') throw error;
    return [
      ...(await notRunning(surroundings, error)),
      ...(await another(env)),
      ...fewFiles(ownFiles(surroundings)),
    ];
  }
  const rows: ReportRow[] = [
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
  rows.push(...(await another(env)));
  const mismatch = await socketMismatch(env, status.pid);
  if (mismatch !== undefined) rows.push(finding(area, 'BMUXD_SOCKET', mismatch));
  const engines = status.engines.map(({ pid }) => ({ who: `the engine process ${String(pid)}`, pid }));
  const control = { who: `bmuxd with pid ${String(status.pid)}`, pid: status.pid };
  // Some things a daemon says itself.
  const says = (code: string): boolean => status.problems.some(({ failure }) => failure.code === code);
  const [few] = fewFiles([control, ...engines, ...ownFiles(surroundings)]);
  if (few !== undefined && !says('files_few')) rows.push(few);
  if (status.version !== version) versionIsSaid();
  if (status.version !== version && !says('restart_due'))
    rows.push(finding(area, 'version', fail('restart_due', { installed: version, running: status.version })));
  return rows;
};

/** Without a daemon all is well where a command would start one. */
async function notRunning({ env, platform }: Examined, failure: Failure): Promise<readonly ReportRow[]> {
  const area = 'daemon';
  const paths = bmuxdPaths(env, platform);
  const mismatch = await socketMismatch(env);
  if (mismatch !== undefined) return [finding(area, 'BMUXD_SOCKET', mismatch)];
  const { whoRuns } = await import('../../control/instance/who-runs.ts');
  const other = await whoRuns(paths.instanceSocket);
  if (other !== undefined) return [finding(area, 'instance', other)];
  const { autostart } = (await loadSettings(paths.settings)).settings;
  const starts = autostart === 'auto' ? installedService(env, platform) === undefined : autostart;
  if (!starts) return [finding(area, 'not running', failure)];
  return [{ area, what: 'not running', detail: 'the first command starts it' }];
}

/** A daemon that this user has besides, at the place that is used without BMUXD_RUNTIME_DIR. */
async function another(env: Env): Promise<readonly ReportRow[]> {
  const { BMUXD_RUNTIME_DIR: _, BMUXD_SOCKET: __, ...usual } = env;
  const { dir } = bmuxdPaths(usual);
  if (dir === bmuxdPaths(env).dir) return [];
  const health = await runningHealth(usual).catch(() => undefined);
  if (health === undefined) return [];
  const detail = `process ${String(health.pid)}, ${health.version}, ${dir}: it holds connections of its own`;
  return [{ area: 'daemon', what: 'another', detail }];
}

interface Opener {
  readonly who: string;
  readonly pid: number | 'self';
}

/** What a daemon that is started from this shell may open. A service has a limit of its own. */
function ownFiles({ env, platform }: Examined): readonly Opener[] {
  return installedService(env, platform) === undefined ? [{ who: 'a bmuxd of this shell', pid: 'self' }] : [];
}

/** The first that may open few files: the others mostly have their limit from it. */
function fewFiles(openers: readonly Opener[]): readonly ReportRow[] {
  for (const { who, pid } of openers) {
    const limit = descriptorLimit(pid);
    if (limit < ENOUGH_FILES)
      return [finding('daemon', 'open files', fail('files_few', { who, limit: String(limit) }))];
  }
  return [];
}
