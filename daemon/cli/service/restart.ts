// `bmuxd restart`: the next daemon starts beside the running one, takes its paths over, and the running one leaves. Live streams go on.
import { readFile } from 'node:fs/promises';
import { LIMITS } from '../../base/limits.ts';
import { bmuxPaths, type Env } from '../../base/paths.ts';
import { sleep } from '../../base/async/sleep.ts';
import { advised, fail, revive } from '../../errors/fail.ts';
import { isStatus } from '../../api/answer-shapes.ts';
import type { Health } from '../../api/answers.ts';
import { askControl } from '../ask-control.ts';
import type { Run } from '../command.ts';
import { runCommand } from '../shell/run-command.ts';
import { AGENT_LABEL, installedService, UNIT } from './installed.ts';
import { logFilesOf, runningHealth, spawnDaemon } from './start.ts';

/** ms between two looks whether the next daemon answers. */
const LOOK_MS = 50;

export const restart: Run = async ({ env, cwd, out, err }) => {
  const before = await runningHealth(env).catch(() => undefined);
  if (before !== undefined) await refuseBrokenConfig(env);
  const manager = before === undefined ? undefined : await managerOf(before.pid, env);
  const health =
    manager === undefined
      ? (await spawnDaemon(env, cwd, ['--replace'])).health
      : await byManager(manager, env, before?.pid);
  const what = before === undefined ? 'has started' : 'has restarted';
  out(`bmuxd ${what}: ${health.state}, pid ${String(health.pid)}, log ${health.log ?? 'unknown'}\n`);
  if (health.state === 'ready') return 0;
  err('`bmuxd status` says what is missing\n');
  return 1;
};

/** The last good config is in the running daemon alone. Rejects with the mistake of the files: requests for streams would fail by it. */
async function refuseBrokenConfig(env: Env): Promise<void> {
  const question = { method: 'GET', path: '/v1/status', timeoutMs: LIMITS.engineAnswerMs } as const;
  const status = await askControl(env, question, isStatus).catch(() => undefined);
  // A daemon that hangs, or has no engine, serves nobody: a restart is the way out.
  if (status?.engines.some(({ state }) => state === 'serving') !== true) return;
  const { runtimeDir } = bmuxPaths(env);
  const broken = status.problems.find(({ where }) => where === runtimeDir);
  if (broken === undefined) return;
  const remedy = 'Mend it, then restart: until then the running daemon goes on, with the last good config.';
  throw advised(revive(broken.failure), remedy);
}

/** The command with which the service manager of this daemon restarts it; undefined when it has none. */
async function managerOf(pid: number, env: Env): Promise<readonly [string, ...string[]] | undefined> {
  // A process beside the service would be a daemon that the manager does not know.
  const cgroup = await readFile(`/proc/${String(pid)}/cgroup`, 'utf8').catch(() => '');
  if (cgroup.includes(`/${UNIT}`)) return ['systemctl', '--user', 'restart', UNIT];
  if (installedService(env)?.manager !== 'launchd') return undefined;
  return ['launchctl', 'kickstart', '-k', `gui/${String(process.getuid?.() ?? 0)}/${AGENT_LABEL}`];
}

/** Resolves when the next process of the service is ready, or has answered that it is not for `LIMITS.startMs`. */
async function byManager(
  [command, ...args]: readonly [string, ...string[]],
  env: Env,
  before: number | undefined,
): Promise<Health> {
  const { status } = await runCommand(command, args, env);
  const { log } = logFilesOf(env);
  if (status !== 0)
    throw fail('daemon_unstarted', { why: `${[command, ...args].join(' ')} has failed`, log });
  const until = performance.now() + LIMITS.startMs;
  for (;;) {
    const health = await runningHealth(env).catch(() => undefined);
    const isOver = performance.now() > until;
    if (health !== undefined && health.pid !== before && (isOver || health.state === 'ready')) return health;
    if (isOver) throw fail('daemon_unstarted', { why: 'it does not answer', log });
    await sleep(LOOK_MS);
  }
}
