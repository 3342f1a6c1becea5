// `bmuxd install` and `bmuxd uninstall`: the service of this user, with the paths of this Node and this bmuxd.
import { readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeAtomic } from '../../../base/files/atomic-file.ts';
import { makeFolder } from '../../../base/files/make-folder.ts';
import type { Env } from '../../../base/paths.ts';
import { programPath } from '../../../base/version.ts';
import { fail } from '../../../errors/fail.ts';
import type { CommandContext, Run } from '../../command.ts';
import { AGENT_LABEL, agentFile, agentLog, UNIT, userUnits } from '../installed.ts';
import { changeFile } from './change-file.ts';
import { agentFiles, SOCKET_UNITS, unitFiles, type ServiceFile } from './files.ts';
import { lastingPath } from './lasting-path.ts';
import { leaveToService } from './leave-to-service.ts';
import { ask, lingers, systemctl, tell } from './manager.ts';
import { makeStableLinks, removeStableLinks, type StableLinks } from './stable-links.ts';

export const install: Run = async (context) => {
  const { env, out, options } = context;
  const isDry = options['dry-run'] === true;
  const sockets = options['socket'] === true;
  const isMac = process.platform === 'darwin';
  if (isMac && sockets)
    throw fail('service_unsupported', { why: 'bmuxd install: --socket: launchd passes no sockets to bmuxd' });
  // Files that nobody has read would look like a service: commands would no longer start the daemon themselves.
  if (!isMac && !isDry) await tell(env, systemctl('show', '--property=Version'));
  const { node, program, changed: renewed } = await programs(context, options['stable-node'] === true, isDry);
  const files = (isMac ? agentFiles : unitFiles)({ env, node, program, sockets });
  const changed = (await written(files, isDry, out)) || renewed;
  const commands = isMac
    ? agentCommands(env, options['now'] === true)
    : unitCommands(sockets, options['now'] === true, changed);
  if (isMac && !isDry) await changeFile(agentLog(env), () => makeFolder(dirname(agentLog(env))));
  await run(context, commands, isDry);
  if (isDry) return 0;
  if (!isMac) await explainLinger(context);
  out(
    options['now'] === true
      ? 'installed and started\n'
      : 'installed; it starts at the next login, or now with --now\n',
  );
  return 0;
};

export const uninstall: Run = async (context) => {
  const { env, out, options } = context;
  const isDry = options['dry-run'] === true;
  const isMac = process.platform === 'darwin';
  const files = isMac ? [agentFile(env)] : [UNIT, ...SOCKET_UNITS].map((name) => join(userUnits(env), name));
  const there = files.filter((path) => existsSync(path));
  if (there.length === 0) {
    out('no service of this user is installed\n');
    return 0;
  }
  if (isMac) await attempt(context, ['launchctl', 'bootout', `${domain()}/${AGENT_LABEL}`], isDry);
  else {
    const units = there.map((path) => path.slice(path.lastIndexOf('/') + 1));
    await attempt(context, systemctl('disable', '--now', ...units), isDry);
  }
  for (const path of there) {
    out(`remove ${path}\n`);
    if (!isDry) await changeFile(path, () => rm(path, { force: true }));
  }
  await removeStableLinks(env, isDry, out);
  if (!isMac) await attempt(context, systemctl('daemon-reload'), isDry);
  if (!isDry) out('uninstalled; an engine with live streams leaves after the last one\n');
  return 0;
};

/** The paths for the service, with warnings for those that may vanish. With `stable`, links that are made again at the next install. */
async function programs(
  { env, out, err }: CommandContext,
  stable: boolean,
  isDry: boolean,
): Promise<StableLinks> {
  if (stable) return makeStableLinks(env, isDry, out);
  const [node, program] = [lastingPath(process.execPath), lastingPath(programPath())];
  for (const { path, why } of [node, program])
    if (why !== undefined)
      err(
        `bmuxd: ${path} may vanish: ${why}. Run \`bmuxd install\` again then, or now with --stable-node.\n`,
      );
  return { node: node.path, program: program.path, changed: false };
}

/** Shows and writes the files that differ. Resolves with whether one did. */
async function written(
  files: readonly ServiceFile[],
  isDry: boolean,
  out: (text: string) => void,
): Promise<boolean> {
  let changed = false;
  for (const { path, content } of files) {
    if ((await readFile(path, 'utf8').catch(() => undefined)) === content) {
      out(`unchanged ${path}\n`);
      continue;
    }
    changed = true;
    out(`write ${path}\n${content.replaceAll(/^(?=.)/gm, '    ')}`);
    if (isDry) continue;
    await changeFile(path, async () => {
      await makeFolder(dirname(path));
      await writeAtomic(path, content);
    });
  }
  return changed;
}

type Line = readonly [string, ...string[]];

function unitCommands(sockets: boolean, now: boolean, changed: boolean): Line[] {
  const units = [UNIT, ...(sockets ? SOCKET_UNITS : [])];
  // A restart ends no stream. `enable --now` alone would go on with the former command.
  const start = changed ? 'restart' : 'start';
  return [
    systemctl('daemon-reload'),
    systemctl('enable', ...units),
    ...(now ? [systemctl(start, UNIT)] : []),
  ];
}

function agentCommands(env: Env, now: boolean): Line[] {
  if (!now) return [];
  return [
    ['launchctl', 'enable', `${domain()}/${AGENT_LABEL}`],
    ['launchctl', 'bootstrap', domain(), agentFile(env)],
  ];
}

function domain(): string {
  return `gui/${String(process.getuid?.() ?? 0)}`;
}

async function run(context: CommandContext, commands: readonly Line[], isDry: boolean): Promise<void> {
  const { env, out, options } = context;
  const isNow = options['now'] === true && !isDry;
  for (const command of commands) {
    // The last one starts the service. When one before it fails, the daemon of now goes on.
    if (isNow && command === commands.at(-1)) {
      // The former agent has the old paths. It is not there at the first install.
      if (process.platform === 'darwin')
        await ask(env, ['launchctl', 'bootout', `${domain()}/${AGENT_LABEL}`]);
      await leaveToService(context);
    }
    out(`run ${command.join(' ')}\n`);
    if (!isDry) await tell(env, command);
  }
}

/** Shows and runs a command whose failure does not matter, such as the end of a service that does not run. */
async function attempt({ env, out, err }: CommandContext, command: Line, isDry: boolean): Promise<void> {
  out(`run ${command.join(' ')}\n`);
  if (isDry) return;
  const { status, text } = await ask(env, command);
  if (status !== 0) err(`bmuxd: ${command.join(' ')}: ${text}\n`);
}

async function explainLinger({ env, out }: CommandContext): Promise<void> {
  if ((await lingers(env)) !== false) return;
  out(
    'note: services of this user end with the last session (linger is off). To keep bmuxd running: loginctl enable-linger\n',
  );
}
