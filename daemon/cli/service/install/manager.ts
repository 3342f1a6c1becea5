// Asks systemctl, loginctl and launchctl.
import { spawn } from 'node:child_process';
import { LIMITS } from '../../../base/limits.ts';
import { errnoOf } from '../../../base/failure.ts';
import type { Env } from '../../../base/paths.ts';
import { fail } from '../../../errors/fail.ts';

export interface ManagerAnswer {
  readonly status: number;
  readonly text: string;
}

/** Most characters of an answer. */
const MAX_TEXT = 64 * 1024;

/** Runs a program of the service manager. A missing program has the status 127. Rejects when it does not end in time. */
export function ask(env: Env, [program, ...args]: readonly [string, ...string[]]): Promise<ManagerAnswer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    const add = (chunk: Buffer): void => {
      text = (text + chunk.toString()).slice(0, MAX_TEXT);
    };
    child.stdout.on('data', add);
    child.stderr.on('data', add);
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(fail('service_manager_failed', { command: [program, ...args].join(' '), why: 'no answer' }));
    }, LIMITS.serviceManagerMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      if (errnoOf(error) === 'ENOENT') resolve({ status: 127, text: `${program}: not found` });
      else reject(error);
    });
    child.once('close', (status) => {
      clearTimeout(timer);
      resolve({ status: status ?? 1, text: text.trim() });
    });
  });
}

/** Does the same, and rejects with `service_manager_failed` when the program fails. */
export async function tell(env: Env, command: readonly [string, ...string[]]): Promise<string> {
  const { status, text } = await ask(env, command);
  if (status !== 0)
    throw fail('service_manager_failed', {
      command: command.join(' '),
      why: text === '' ? `exit status ${String(status)}` : text,
    });
  return text;
}

export const systemctl = (...args: readonly string[]): readonly [string, ...string[]] => [
  'systemctl',
  '--user',
  ...args,
];

/** Whether services of this user run while nobody is logged in; undefined when that is not known. */
export async function lingers(env: Env): Promise<boolean | undefined> {
  const uid = process.getuid?.();
  if (uid === undefined) return undefined;
  const { status, text } = await ask(env, [
    'loginctl',
    'show-user',
    String(uid),
    '--property=Linger',
    '--value',
  ]);
  return status === 0 ? text === 'yes' : undefined;
}
