// `bmuxd login`: the login of ssh in this terminal. The connection that it makes stays, and the engines use it.
import { spawn } from 'node:child_process';
import { open, rm } from 'node:fs/promises';
import { asciiJson } from '../../api/header.ts';
import { isLoginAnswer } from '../../api/answer-shapes.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { StreamRequest } from '../../api/request-types.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { textOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { outputOf } from '../../base/process/output-of.ts';
import type { Env } from '../../base/paths.ts';
import { advised, fail } from '../../errors/fail.ts';
import { askControl } from '../ask-control.ts';
import type { Run } from '../command.ts';
import { reach } from '../reach.ts';
import { runCommand } from '../shell/run-command.ts';
import { showWait } from '../terminal.ts';

export const login: Run = async (context) => {
  const { args, cwd, out } = context;
  const env = withoutTargetSocket(context.env);
  const target = args[0] ?? '';
  const request: StreamRequest = { target, cwd, env: whitelisted(env) };
  const headers = { 'bmux-request': asciiJson(request) };
  // Longer than control's own time limit, because control's failure says more than a timeout here.
  const timeoutMs = LIMITS.prepareMs + 2 * LIMITS.silenceMs;
  const question = { method: 'POST', path: '/v1/login', headers, timeoutMs } as const;
  // Over before ssh asks in this terminal.
  const end = showWait(context.stderr, 'the daemon to find the host');
  const answer = await askControl(env, question, isLoginAnswer).finally(end);
  if (!(await answers(answer.check, env))) {
    // A connection that was killed has left its socket, and ssh would not take its place.
    await rm(answer.path, { force: true });
    // A person takes the time that it takes: ssh has a limit for the connect alone.
    // It ends with this command: nobody else would answer what it asks.
    const { status, isEnded } = await runCommand('ssh', answer.login, env);
    if (isEnded) return status;
    if (status !== 0) {
      const failure = fail('ssh_login_ended', { label: answer.target, status });
      if (await keepsNoKeys(answer.login, env)) throw advised(failure, UNKEPT);
      throw (await canAsk(env)) ? failure : advised(failure, UNASKED);
    }
  }
  await reach(target, { ...context, env }, 'bmuxd login');
  out(`logged in to ${answer.target}; bmuxd keeps the connection\n`);
  return 0;
};

const UNASKED =
  'ssh has said why. It has no terminal here, so it could ask nobody: run this in a terminal, or set SSH_ASKPASS.';

const UNKEPT =
  'ssh has said why. It has no known_hosts file here, so it asks about no host key: if the key is not known, set known_hosts_file (in ssh_config UserKnownHostsFile) to a file, not to `none`.';

/** Whether ssh has no file for the keys of hosts. It prints what its options and ssh_config make of that, and connects to nothing. */
async function keepsNoKeys(login: readonly string[], env: Env): Promise<boolean> {
  const { stdout } = await outputOf('ssh', ['-G', ...login], { ms: LIMITS.sshControlMs, env });
  return /^userknownhostsfile none$/im.test(stdout);
}

/** Whether ssh can ask somebody: it opens the terminal of its session, or starts a program. */
async function canAsk(env: Env): Promise<boolean> {
  if ((env['SSH_ASKPASS'] ?? '') !== '') return true;
  const terminal = await open('/dev/tty').catch(() => undefined);
  await terminal?.close();
  return terminal !== undefined;
}

/** Whether a master is there and answers. */
function answers(check: readonly string[], env: Env): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', check, { env, stdio: 'ignore' });
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMITS.sshControlMs);
    child.once('error', (error) => {
      reject(fail('ssh_program_missing', { why: textOf(error) }));
    });
    child.once('exit', (status) => {
      clearTimeout(timer);
      resolve(status === 0);
    });
  });
}
