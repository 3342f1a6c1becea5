// The files of a service: made from those in the folders `systemd` and `launchd` of the package.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bmuxdPaths, homeOf, type Env } from '../../../base/paths.ts';
import { packageRoot } from '../../../base/version.ts';
import { fail } from '../../../errors/fail.ts';
import { canNotify } from '../../../control/service/notify-socket.ts';
import { agentFile, agentLog, UNIT, userUnits } from '../installed.ts';
import { SERVICE_FLAGS } from '../program.ts';
import { unitCommand, unitPath, unitVariable, xmlText } from './quoting.ts';

export interface ServiceFile {
  readonly path: string;
  readonly content: string;
}

export interface ServiceOptions {
  readonly env: Env;
  readonly node: string;
  readonly program: string;
  /** Also the units of the sockets, so that the first request starts the daemon. */
  readonly sockets: boolean;
}

export const SOCKET_UNITS = ['bmuxd.socket', 'bmuxd-streams.socket'] as const;

/** Variables that decide where the daemon has its files. The service gets those that are set where it is installed. */
const PASSED = ['BMUXD_RUNTIME_DIR', 'BMUXD_SOCKET', 'BMUXD_CONFIG'] as const;

/** The units for systemd. */
export function unitFiles({ env, node, program, sockets }: ServiceOptions): ServiceFile[] {
  if (/[\\"'\p{Cc}]/u.test(node))
    throw fail('service_unsupported', {
      why: `systemd takes no program with quotes, backslashes or control characters in its path: ${node}`,
    });
  const command = (...args: readonly string[]): string => unitCommand([node, ...args]);
  const variables = passed(env).map(([name, value]) => `Environment=${unitVariable(name, value)}\n`);
  const { controlSocket, streamsSocket } = bmuxdPaths(env);
  const isUsual = passed(env).length === 0;
  const listen = (usual: string, path: string): string => (isUsual ? usual : unitPath(path));
  const values = {
    RUN: command(...SERVICE_FLAGS, program, 'run'),
    RELOAD: command(program, 'reload'),
    ENVIRONMENT: variables.join('').trimEnd(),
    NOTIFIERS: canNotify() ? 'main' : 'all',
    CONTROL: listen('%t/bmuxd/control.sock', controlSocket),
    STREAMS: listen('%t/bmuxd/streams.sock', streamsSocket),
  };
  const names = [UNIT, ...(sockets ? SOCKET_UNITS : [])];
  return names.map((name) => ({
    path: join(userUnits(env), name),
    content: filled(join('systemd', name), values),
  }));
}

/** The agent for launchd. */
export function agentFiles({ env, node, program }: ServiceOptions): ServiceFile[] {
  const log = agentLog(env);
  const variables = passed(env).map(
    ([name, value]) => `    <key>${name}</key>\n    <string>${xmlText(value)}</string>\n`,
  );
  const values = {
    NODE: xmlText(node),
    PROGRAM: xmlText(program),
    LOG: xmlText(log),
    STDERR: xmlText(join(dirname(log), 'daemon.stderr')),
    HOME: xmlText(homeOf(env)),
    ENVIRONMENT: variables.join('').trimEnd(),
  };
  return [{ path: agentFile(env), content: filled('launchd/dev.bmux.bmuxd.plist', values) }];
}

function passed(env: Env): [string, string][] {
  return PASSED.flatMap((name): [string, string][] => {
    const value = env[name] ?? '';
    return value === '' ? [] : [[name, value]];
  });
}

/** A file of the package with its placeholders replaced. A line with nothing but an empty one is left out. */
function filled(file: string, values: Readonly<Record<string, string>>): string {
  const text = readFileSync(join(packageRoot(), file), 'utf8');
  return text
    .split('\n')
    .filter((line) => !/^\s*@(\w+)@$/.test(line) || values[line.trim().slice(1, -1)] !== '')
    .join('\n')
    .replaceAll(/@([A-Z]+)@/g, (placeholder, name: string) => values[name] ?? placeholder);
}
