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
import type { Command, CommandContext } from '../command.ts';
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

const SHELLS: Readonly<Record<string, (variables: Variables) => string>> = {
  bash: (variables) => variables.map(([name, value]) => `export ${name}=${quotedSh(value)}\n`).join(''),
  zsh: (variables) => variables.map(([name, value]) => `export ${name}=${quotedSh(value)}\n`).join(''),
  fish: (variables) => variables.map(([name, value]) => `set -gx ${name} ${quotedFish(value)}\n`).join(''),
  json: (variables) => `${JSON.stringify(Object.fromEntries(variables), null, 2)}\n`,
};

function usage(command: string, why: string) {
  return fail('usage', { why: `bmuxd ${command}: ${why}`, command: `bmuxd ${command}` });
}

export const env: Command = {
  name: 'env',
  args: 'TARGET',
  about: 'print what to set so that an unmodified bmux talks to TARGET through bmuxd',
  options: { shell: { type: 'string', value: 'SHELL', about: 'bash (default), zsh, fish or json' } },
  maxArgs: 1,
  run: async (context) => {
    const [target] = context.args;
    if (target === undefined) throw usage('env', 'name a target');
    const shell = context.options['shell'] ?? 'bash';
    const print = typeof shell === 'string' && Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined;
    if (print === undefined)
      throw usage('env', `--shell: '${String(shell)}' is none of bash, zsh, fish, json`);
    context.out(print(await variablesFor(target, context)));
    return 0;
  },
};

export const exec: Command = {
  name: 'exec',
  args: 'TARGET -- COMMAND [ARG...]',
  about: 'run COMMAND so that an unmodified bmux talks to TARGET through bmuxd',
  options: {},
  maxArgs: Infinity,
  run: async (context) => {
    const [target, ...rest] = context.args;
    if (target !== undefined && context.argsBeforeDashes === 0 && rest[0] !== '--')
      throw usage('exec', 'a target is missing: write bmuxd exec TARGET -- COMMAND');
    // A target that begins with `-` stands behind a `--` of its own: bmuxd exec -- TARGET -- COMMAND.
    const [command, ...args] = rest[0] === '--' ? rest.slice(1) : rest;
    if (target === undefined || command === undefined)
      throw usage('exec', 'write bmuxd exec TARGET -- COMMAND');
    const variables = await variablesFor(target, context);
    return runCommand(command, args, { ...context.env, ...Object.fromEntries(variables) });
  },
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
