// `bmuxd service status`: which service is installed, whether it runs, and whether its paths are still there.
import { existsSync } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SCHEMA } from '../../../api/answers.ts';
import { object, optional, text } from '../../../api/shape.ts';
import type { Env } from '../../../base/paths.ts';
import { programPath } from '../../../base/version.ts';
import type { Run } from '../../command.ts';
import { AGENT_LABEL, installedService, UNIT, type InstalledService } from '../installed.ts';
import { ask, lingers, systemctl } from './manager.ts';

export interface ServiceState {
  readonly manager: InstalledService['manager'];
  readonly file: string;
  readonly log: string;
  /** `active`, `inactive`, `failed` and the like. */
  readonly state: string;
  readonly enabled: boolean;
  readonly pid?: number;
  /** Whether it runs while nobody is logged in; missing where that is not known. */
  readonly linger?: boolean;
  /** What is wrong, with the remedy. */
  readonly problems: readonly string[];
}

export const service: Run = async ({ env, out, options }) => {
  const state = await serviceState(env);
  if (options['json'] === true)
    out(`${JSON.stringify({ schema: SCHEMA, ...(state ?? { state: 'not installed' }) }, null, 2)}\n`);
  else if (state === undefined) out('no service is installed: `bmuxd install`\n');
  else out(rendered(state));
  if (state === undefined) return 3;
  return state.state === 'active' && state.problems.length === 0 ? 0 : 1;
};

function rendered({ manager, file, log, state, enabled, pid, linger, problems }: ServiceState): string {
  const rows = [
    ['manager', manager],
    ['file', file],
    ['state', `${state}${pid === undefined ? '' : `, pid ${String(pid)}`}`],
    ['at login', enabled ? 'starts' : 'does not start'],
    ...(linger === undefined
      ? []
      : [['linger', linger ? 'on' : 'off: it ends with the last session (loginctl enable-linger)']]),
    ['log', log === 'journal' ? 'journal (bmuxd logs)' : log],
  ];
  const lines = rows.map(([name = '', value = '']) => `${name.padEnd(9)} ${value}`);
  return `${[...lines, ...problems.map((problem) => `! ${problem}`)].join('\n')}\n`;
}

/** Undefined when none is installed. */
export async function serviceState(env: Env): Promise<ServiceState | undefined> {
  const installed = installedService(env);
  if (installed === undefined) return undefined;
  const gone = await gonePaths(installed.file);
  const problems = gone.map((path) => `${path} is gone: run \`bmuxd install\` again`);
  if (installed.manager === 'launchd') {
    const { status, text: shown } = await ask(env, [
      'launchctl',
      'print',
      `gui/${String(process.getuid?.())}/${AGENT_LABEL}`,
    ]);
    const pid = /^\s*pid = (\d+)/m.exec(shown)?.[1];
    return {
      ...installed,
      state: status !== 0 ? 'inactive' : pid === undefined ? 'waiting' : 'active',
      enabled: true,
      ...(pid === undefined ? {} : { pid: Number(pid) }),
      problems,
    };
  }
  const properties = await propertiesOf(env);
  const pid = Number(properties.get('MainPID') ?? 0);
  const linger = await lingers(env);
  if (properties.get('NeedDaemonReload') === 'yes')
    problems.push('systemd has not read the unit since it was changed: systemctl --user daemon-reload');
  return {
    ...installed,
    state: properties.get('ActiveState') ?? 'unknown',
    enabled: properties.get('UnitFileState') === 'enabled',
    ...(pid > 0 ? { pid } : {}),
    ...(linger === undefined ? {} : { linger }),
    problems,
  };
}

async function propertiesOf(env: Env): Promise<ReadonlyMap<string, string>> {
  const { text } = await ask(
    env,
    systemctl('show', '--property=ActiveState,UnitFileState,MainPID,NeedDaemonReload', UNIT),
  );
  return new Map(
    text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** The paths of Node and of bmuxd that a unit or a property list starts, and that are not there. */
export async function gonePaths(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return pathsIn(text).filter((path) => !existsSync(path));
}

/** What a unit or a property list runs in the place of this bmuxd, in words; undefined when nothing of it is known to be wrong. */
export async function otherProgram(
  file: string,
  version: string,
  execute: (command: string, args: readonly string[]) => Promise<string | undefined>,
): Promise<string | undefined> {
  const [node, program] = pathsIn(await readFile(file, 'utf8').catch(() => ''));
  if (node === undefined || program === undefined || !existsSync(node)) return undefined;
  const { version: theirs, engines } = await packageOf(program);
  if (theirs !== undefined && theirs !== version)
    return `bmuxd ${theirs} (${program}), and this is ${version}`;
  const lowest = /^>=(\d+)\.(\d+)$/.exec(engines?.node ?? '');
  const found = /^v(\d+)\.(\d+)/.exec((await execute(node, ['--version'])) ?? '');
  if (lowest === null || found === null) return undefined;
  const [major, minor] = [1, 2].map((at) => Number(found[at]) - Number(lowest[at]));
  const isOld = major === 0 ? Number(minor) < 0 : Number(major) < 0;
  return isOld ? `Node ${found[0].slice(1)} (${node}), and bmuxd needs ${String(engines?.node)}` : undefined;
}

const isPackage = object<{ version?: string; engines?: { node?: string } }>({
  version: optional(text),
  engines: optional(object<{ node?: string }>({ node: optional(text) })),
});

/** What package.json of a program says; nothing when it cannot be read. */
async function packageOf(program: string): Promise<{ version?: string; engines?: { node?: string } }> {
  try {
    const root = join(dirname(await realpath(program)), '..', '..', '..');
    const parsed: unknown = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
    return isPackage(parsed) ? parsed : {};
  } catch {
    return {};
  }
}

/** The paths of Node and of bmuxd in a unit or a property list that `bmuxd install` has written. */
function pathsIn(text: string): string[] {
  const command = /^ExecStart=(.*)$/m.exec(text)?.[1];
  const words =
    command === undefined
      ? [...text.matchAll(/<string>([^<]*)<\/string>/g)].map(([, word = '']) => unescaped(word))
      : [...command.matchAll(/"((?:\\.|[^"\\])*)"|\S+/g)].map(([word, inner]) =>
          (inner ?? word).replaceAll(/\\(.)/g, '$1').replaceAll('%%', '%').replaceAll('$$', '$'),
        );
  const program = programPath().slice(programPath().lastIndexOf('/'));
  return words.filter((word) => word.startsWith('/') && (word.endsWith('/node') || word.endsWith(program)));
}

function unescaped(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}
