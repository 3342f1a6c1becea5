// What the doctor finds on this machine: versions, folders and sockets, native packages, files of the state, service.
import { lstat, statfs } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { textOf, type Failure } from '../../base/failure.ts';
import { checkMakeable } from '../../base/files/make-folder.ts';
import { octal } from '../../base/files/path-problem.ts';
import { excessOf } from '../../base/files/socket-path.ts';
import { bmuxdPaths, bmuxPaths, homeOf, type Env } from '../../base/paths.ts';
import { whitelisted } from '../../api/caller-env.ts';
import { TARGETS_FOLDER, withoutTargetSocket } from '../../api/target-socket-env.ts';
import { defaultSettings } from '../../config/settings/table.ts';
import { advised, fail } from '../../errors/fail.ts';
import { readServerMeta } from '../../policy/server-meta.ts';
import { checkNodeInternals } from '../../sockets/check-node.ts';
import { loadPeerCheck, peerCheck } from '../../sockets/peer.ts';
import { readAuthState } from '../../target/auth-state.ts';
import { installedService, UNIT } from '../service/installed.ts';
import { onPath } from './configuration.ts';
import { finding, checkedRows, type Check, type ReportRow } from './row.ts';

export const versions: Check = async ({ env, version, execute }) => {
  checkNodeInternals();
  const versionOf = async (name: string, program = name): Promise<string> => {
    const said = (await execute(program, ['--version']))?.trim().split('\n')[0];
    // On a busy machine npm takes longer than it gets here.
    return said === '' ? 'told no version in time' : (said?.replace(`${name} `, '') ?? 'not found');
  };
  const path = onPath(env, 'bmux');
  const [npm, bmux] = await Promise.all([
    versionOf('npm'),
    path === undefined ? 'not found on the PATH' : versionOf('bmux', path),
  ]);
  return [
    { area: 'versions', what: 'bmuxd', detail: version },
    { area: 'versions', what: 'node', detail: `${process.version}, ${process.execPath}` },
    { area: 'versions', what: 'npm', detail: npm },
    { area: 'versions', what: 'bmux', detail: path === undefined ? bmux : `${bmux}, ${path}` },
  ];
};

export const folders: Check = async ({ env, platform, cwd }) => {
  const area = 'folders';
  const paths = bmuxdPaths(env, platform);
  const { checkRuntimeDir } = await import('../../control/instance/runtime-dir.ts');
  const rows = [
    ...(await checkedRows(area, async () => {
      await checkRuntimeDir(paths);
      if (await isFull(paths.dir)) {
        const { unbindable } = await import('../../control/instance/start-lock.ts');
        throw unbindable(paths.controlSocket, noRoom());
      }
      const info = await lstat(paths.dir).catch(() => undefined);
      const mode = info === undefined ? 'made at the start of the daemon' : `mode ${octal(info.mode)}`;
      return [{ area, what: 'runtime dir', detail: `${paths.dir}, ${mode}` }];
    })),
    ...(await writable(paths.stateDir)),
    ...oddVariables(env),
  ];
  const { serverSocket } = bmuxPaths(whitelisted(withoutTargetSocket(env)), platform, cwd);
  const excess = excessOf(serverSocket);
  const socket: ReportRow = { area, what: 'bmux socket', detail: serverSocket };
  return [...rows, excess === undefined ? socket : finding(area, 'bmux socket', tooLongForBmux(excess))];
};

/** Variables that lead nowhere. */
function oddVariables(env: Env): readonly ReportRow[] {
  const home = homeOf(env);
  const runtimeDir = env['BMUX_RUNTIME_DIR'] ?? '';
  const target = basename(runtimeDir);
  const isTargetSocket = isAbsolute(runtimeDir) && TARGETS_FOLDER.test(basename(dirname(runtimeDir)));
  return [
    ...(isAbsolute(home) ? [] : [finding('folders', 'HOME', fail('home_relative', { home }))]),
    ...(isTargetSocket && !existsSync(join(runtimeDir, 'server.sock'))
      ? [finding('folders', 'BMUX_RUNTIME_DIR', fail('target_socket_gone', { path: runtimeDir, target }))]
      : []),
  ];
}

function tooLongForBmux(excess: { path: string; length: number; limit: number }): Failure {
  return advised(fail('socket_path_too_long', excess), 'Set BMUX_RUNTIME_DIR to a shorter path.');
}

/** Whether the disk of `path`, or of the folder in which it will be made, has no room for a file. */
async function isFull(path: string): Promise<boolean> {
  const disk = await statfs(path).catch(() => undefined);
  if (disk === undefined) return dirname(path) !== path && isFull(dirname(path));
  // Some file systems count no blocks, or no files.
  return (disk.blocks > 0 && disk.bavail === 0) || (disk.files > 0 && disk.ffree === 0);
}

function noRoom(): NodeJS.ErrnoException {
  return Object.assign(new Error('no space is left on its disk'), { code: 'ENOSPC' });
}

async function writable(path: string): Promise<readonly ReportRow[]> {
  try {
    await checkMakeable(path);
  } catch (error) {
    return [unwritable(path, error)];
  }
  return [
    (await isFull(path)) ? unwritable(path, noRoom()) : { area: 'folders', what: 'state dir', detail: path },
  ];
}

function unwritable(path: string, error: unknown): ReportRow {
  return finding('folders', 'state dir', fail('state_unwritable', { path, why: textOf(error) }, error));
}

export const packages: Check = async ({ probe }) => {
  loadPeerCheck();
  const { packages: missing, failure } = await probe({ settings: defaultSettings() });
  const found = [...missing, ...(failure === undefined ? [] : [failure])];
  const peers = peerCheck.problem;
  const all = [...found, ...(peers === undefined ? [] : [peers.data])];
  if (all.length === 0)
    return [{ area: 'packages', what: 'native', detail: 'zstd, @number0/iroh and koffi load' }];
  return all.map((data) => ({ area: 'packages', what: 'native', detail: data.detail, failure: data }));
};

/** Files that bmux and bmuxd leave for each other. */
export const files: Check = async ({ env, platform, cwd }) => {
  const paths = bmuxPaths(whitelisted(withoutTargetSocket(env)), platform, cwd);
  const area = 'files';
  return [
    ...(await checkedRows(area, async () => {
      const state = await readAuthState(paths.authState);
      return state === undefined ? [] : [{ area, what: 'sign-in', detail: paths.authState }];
    })),
    ...(await checkedRows(area, async () => {
      const meta = await readServerMeta(paths);
      return meta === undefined ? [] : [{ area, what: 'local server', detail: paths.serverMeta }];
    })),
  ];
};

export const service: Check = async ({ env, platform, version, execute }) => {
  const area = 'service';
  const installed = installedService(env, platform);
  if (installed === undefined) return [{ area, what: 'service', detail: 'none is installed' }];
  const { manager, file } = installed;
  const { gonePaths, otherProgram } = await import('../service/install/service-status.ts');
  const gone = await gonePaths(file);
  const rows: ReportRow[] = [
    { area, what: manager, detail: file },
    ...gone.map((path) => finding(area, manager, fail('service_path_gone', { file, path }))),
  ];
  const what = await otherProgram(file, version, execute);
  if (what !== undefined) rows.push(finding(area, manager, fail('service_outdated', { file, what })));
  if (manager !== 'systemd') return rows;
  const state = (await execute('systemctl', ['--user', 'is-failed', UNIT]))?.trim();
  if (state === 'failed') rows.push(finding(area, 'systemd', fail('service_failed', { unit: UNIT })));
  else if (state !== undefined && state !== '') rows.push({ area, what: 'state', detail: state });
  const linger = (await execute('loginctl', ['show-user', '--property=Linger', '--value']))?.trim();
  if (linger === 'no')
    rows.push({
      area,
      what: 'linger',
      detail: 'off: the daemon ends when you log out (loginctl enable-linger)',
    });
  if (linger === 'yes') rows.push({ area, what: 'linger', detail: 'on' });
  return rows;
};
