// `bmuxd env` and `bmuxd exec`: the environment in which an unmodified bmux talks to a target through its target socket.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { errnoOf } from '../../base/failure.ts';
import { bmuxdPaths } from '../../base/paths.ts';
import { targetSocketVariables, withoutTargetSocket, type Variables } from '../../api/target-socket-env.ts';
import { fail } from '../../errors/fail.ts';
import { asciiJson } from '../../api/header.ts';
import { isTargetSocketAnswer } from '../../api/answer-shapes.ts';
import { LIMITS } from '../../base/limits.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { StreamRequest } from '../../api/request-types.ts';
import { askControl } from '../ask-control.ts';
import type { CommandContext, Run } from '../command.ts';
import { reach } from '../reach.ts';

/** Waits until the target answers, and resolves with the variables to set. Rejects with the broker's failure. */
async function variablesFor(target: string, context: CommandContext): Promise<Variables> {
  const { cwd } = context;
  const env = withoutTargetSocket(context.env);
  await reach(target, { ...context, env }, 'bmuxd env');
  const request: StreamRequest = { target, cwd, env: whitelisted(env) };
  const question = {
    method: 'POST',
    path: '/v1/target-sockets',
    headers: { 'bmux-request': asciiJson(request) },
    timeoutMs: LIMITS.targetSocketMs + 2 * LIMITS.silenceMs,
  } as const;
  const targetSocket = await askControl(env, question, isTargetSocketAnswer);
  return targetSocketVariables(targetSocket.runtimeDir, bmuxdPaths(env).controlSocket, env);
}

const quotedSh = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;
const quotedFish = (value: string): string => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

function variablesForSh(variables: Variables): string {
  return variables.map(([name, value]) => `export ${name}=${quotedSh(value)}\n`).join('');
}

/** By the values of `--shell`. */
const SHELLS: Readonly<Record<string, (variables: Variables) => string>> = {
  bash: variablesForSh,
  zsh: variablesForSh,
  fish: (variables) => variables.map(([name, value]) => `set -gx ${name} ${quotedFish(value)}\n`).join(''),
  json: (variables) => `${JSON.stringify(Object.fromEntries(variables), null, 2)}\n`,
};

export const env: Run = async (context) => {
  const [target = ''] = context.args;
  const print = SHELLS[String(context.options['shell'] ?? 'bash')] ?? variablesForSh;
  context.out(print(await variablesFor(target, context)));
  return 0;
};

export const exec: Run = async (context) => {
  const [target = '', ...rest] = context.args;
  // A target that begins with `-` stands behind a `--` of its own: bmuxd exec -- TARGET -- COMMAND.
  const [command = '', ...args] = rest[0] === '--' ? rest.slice(1) : rest;
  const variables = await variablesFor(target, context);
  return runCommand(command, args, { ...context.env, ...Object.fromEntries(variables) });
};

/** Signals that are passed to the command. */
const SIGNALS = ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;

/** Resolves with the command's exit status. A command that a signal ended has status 128 plus the signal's number, as in shells. */
function runCommand(
  command: string,
  args: readonly string[],
  childEnv: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: childEnv, stdio: 'inherit' });
    const onTerminal = isatty(0) || isatty(1) || isatty(2);
    const pass = (signal: NodeJS.Signals): void => {
      // A terminal sends the signals of its keys to the whole process group, so the command has got them already.
      if (onTerminal && (signal === 'SIGINT' || signal === 'SIGQUIT')) return;
      child.kill(signal);
    };
    for (const signal of SIGNALS) process.on(signal, pass);
    const done = (): void => {
      for (const signal of SIGNALS) process.off(signal, pass);
    };
    child.once('error', (error) => {
      // Node emits 'error' also when a signal cannot be sent. The command is running then, and its 'exit' event follows.
      if (child.pid !== undefined) return;
      done();
      reject(
        errnoOf(error) === 'ENOENT'
          ? fail('command_missing', { command }, error)
          : fail('command_unrunnable', { command, why: error.message }, error),
      );
    });
    child.once('exit', (status, signal) => {
      done();
      resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
