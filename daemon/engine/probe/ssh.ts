// The steps of a way over SSH: what ssh_config makes of the target, name and port, and what ssh tells of its login.
import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import { inTime, type Deadline } from '../../base/async/deadline.ts';
import { errnoOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Env } from '../../base/paths.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import type { ProbeStep } from '../../engine-protocol/probe.ts';
import { fail } from '../../errors/fail.ts';
import { established } from '../../transport/dialling.ts';
import { configArgs, sshEnv } from '../../transport/ssh/arguments.ts';
import { loginFailure } from '../../transport/ssh/failures.ts';
import { SshProcess } from '../../transport/ssh/process.ts';

interface Way {
  readonly label: string;
  readonly route: SshRoute;
  readonly env: Env;
  readonly deadline: Deadline;
}

/** Configuration, name and TCP. A proxy finds name and port by itself. */
export async function trySshHost(way: Way, steps: ProbeStep[]): Promise<void> {
  const { label, deadline } = way;
  let since = performance.now();
  const step = (name: string, detail: string): void => {
    const now = performance.now();
    steps.push({ step: name, ms: now - since, detail });
    since = now;
  };
  const config = await configOf(way);
  const value = (name: string): string => config.get(name) ?? '';
  const [host, port] = [value('hostname'), Number(value('port'))];
  const jump = config.get('proxyjump');
  const proxy = jump === undefined ? config.get('proxycommand') : `the jump host ${jump}`;
  const through = proxy === undefined || proxy === 'none' ? '' : `, through ${proxy}`;
  step('config', `${value('user')}@${host} port ${String(port)}${through}`);
  if (through !== '') return;
  const late = (): Error => fail('ssh_connect_timeout', { label });
  if (isIP(host) === 0) {
    const found = await inTime(lookup(host, { all: true }), deadline.remaining(), late).catch(
      (error: unknown) => {
        throw fail('ssh_host_unknown', { label }, error);
      },
    );
    step('dns', `${host} is ${found.map(({ address }) => address).join(', ')}`);
  }
  const socket = connect({ host, port });
  try {
    await established(socket, 'connect', { deadline, signal: new AbortController().signal }, late);
    step('tcp', `${host} port ${String(port)}`);
  } catch (error) {
    throw errnoOf(error) === undefined ? error : fail('ssh_unreachable', { label }, error);
  } finally {
    socket.destroy();
  }
}

/** What `ssh -G` prints, the first value of each option. */
async function configOf({ label, route, env, deadline }: Way): Promise<ReadonlyMap<string, string>> {
  const ssh = new SshProcess(configArgs(route), { env: sshEnv(env), stdout: 'pipe' });
  let printed = '';
  ssh.stdout?.setEncoding('utf8');
  ssh.stdout?.on('data', (text: string) => (printed += text));
  const over = new Promise<void>((resolve) => ssh.stdout?.once('close', resolve));
  const late = (): Error => fail('out_of_time', { ms: LIMITS.sshControlMs, step: 'ssh -G' });
  try {
    const exit = await inTime(ssh.exited, deadline.within(LIMITS.sshControlMs), late);
    if (exit.status !== 0) throw loginFailure(label, { words: ssh.words, exit });
    await inTime(over, deadline.within(LIMITS.sshControlMs), late);
  } finally {
    void ssh.end();
  }
  const config = new Map<string, string>();
  for (const line of printed.split('\n')) {
    const [, name = '', value = ''] = /^(\S+) (.*)$/.exec(line) ?? [];
    if (!config.has(name)) config.set(name, value);
  }
  return config;
}

/** Takes the lines of `ssh -v` during logins, also those at jump hosts. */
export function loginSteps(steps: ProbeStep[]): (line: string) => void {
  let since = performance.now();
  let key: string | undefined;
  const step = (name: string, detail: string): void => {
    const now = performance.now();
    steps.push({ step: name, ms: now - since, detail });
    since = now;
  };
  const hasKey = (how: string): void => {
    if (key !== undefined) step('host key', `${key}, ${how}`);
    key = undefined;
  };
  return (line) => {
    if (line.startsWith('OpenSSH_')) since = performance.now();
    key = /^debug1: Server host key: (\S+ \S+)/.exec(line)?.[1] ?? key;
    if (/^debug1: Host '.*' is known and matches/.test(line)) hasKey('known');
    const [, host, how] = /^Authenticated to (\S+) .*using "([^"]+)"/.exec(line) ?? [];
    if (host === undefined || how === undefined) return;
    hasKey('not checked');
    step('auth', `at ${host}, by ${how}`);
  };
}
