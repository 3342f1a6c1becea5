// `bmuxd run`: runs the daemon in the foreground until a signal or `bmuxd stop` ends it.
import { resolve } from 'node:path';
import { sleep } from '../../base/async/sleep.ts';
import { usesColor } from '../../base/process/color.ts';
import type { Env } from '../../base/paths.ts';
import { advised, asFailure, fail } from '../../errors/fail.ts';
import { asText } from '../../errors/text.ts';
import { SETTINGS, type LogLevel } from '../../config/settings/table.ts';
import type { Run } from '../command.ts';
import { tellFailed, tellReady } from '../service/ready.ts';
import { untilSignal } from '../until-signal.ts';

/** ms until a daemon that has failed exits, where a service manager starts it again: systemd does so after `RestartSec`. */
const FAILED_MS = 1000;

const LOG_LEVELS: readonly LogLevel[] = SETTINGS[0].takes.values;

const VARIABLE = 'BMUXD_LOG_LEVEL';

/** The level of BMUXD_LOG_LEVEL; undefined when it is not set. Throws the failure for a word that is none. */
export function levelOf(env: Env): LogLevel | undefined {
  return levelFrom(env[VARIABLE], VARIABLE);
}

function levelFrom(value: string | undefined, source: string): LogLevel | undefined {
  if (value === undefined || value === '') return undefined;
  const level = LOG_LEVELS.find((name) => name === value);
  if (level === undefined) {
    const why = `bmuxd run: ${source}: unknown log level '${value}' (expected ${LOG_LEVELS.join('|')})`;
    const failure = fail('usage', { why, command: 'bmuxd run' });
    throw source === VARIABLE
      ? advised(failure, `Set ${source} to one of ${LOG_LEVELS.join(', ')}, or unset it.`)
      : failure;
  }
  return level;
}

/** `env` with paths that lead to the same files from every working directory. */
function withAbsolutePaths(env: Env, cwd: string): Env {
  const absolute = (name: string): Env => {
    const value = env[name] ?? '';
    return value === '' ? {} : { [name]: resolve(cwd, value) };
  };
  return { ...env, ...absolute('BMUXD_SOCKET'), ...absolute('BMUXD_CONFIG') };
}

export const run: Run = async ({ env, cwd, version, stderr, options }) => {
  const { 'log-level': flag, 'log-file': logFile, replace } = options;
  const logLevel = levelFrom(typeof flag === 'string' ? flag : undefined, '--log-level') ?? levelOf(env);
  let reload = (): void => {};
  const onHup = (): void => {
    reload();
  };
  process.on('SIGHUP', onHup);
  // Only the user may access the daemon's folders, sockets and files, whatever the umask of the shell is.
  process.umask(0o077);
  const ownEnv = withAbsolutePaths(env, cwd);
  // First, so that the engine's modules load beside those of control. It ends when this process does.
  const { startEarly } = await import('../../control/engines/engine-process.ts');
  const early = await startEarly(ownEnv, replace === true);
  try {
    await untilSignal(async (signal) => {
      // Loaded here because loading the daemon's packages would slow down the other commands.
      const { runControl } = await import('../../control/main.ts');
      const { checkNodeInternals } = await import('../../sockets/check-node.ts');
      checkNodeInternals();
      const { controlSink } = await import('../../control/instance/stderr-sink.ts');
      const file = typeof logFile === 'string' ? resolve(cwd, logFile) : undefined;
      const sink = controlSink({
        stderr,
        journalStream: env['JOURNAL_STREAM'],
        file,
        color: usesColor(env, true),
      });
      // The daemon must not keep the file system of this folder from being unmounted.
      process.chdir('/');
      const control = await runControl({
        env: ownEnv,
        early,
        cwd,
        version,
        sink,
        logLevel,
        replace: replace === true,
        signal,
      });
      reload = () => {
        control.reload().catch((error: unknown) => {
          stderr.write(`${asFailure(error).message}\n`);
        });
      };
      void control.ready.then(tellReady);
      return control;
    });
    return 0;
  } catch (error) {
    early.kill();
    await tellFailed(asText(asFailure(error), 'bmuxd'));
    if ((env['NOTIFY_SOCKET'] ?? '') !== '') await sleep(FAILED_MS);
    throw error;
  } finally {
    early.kill();
    process.off('SIGHUP', onHup);
  }
};
