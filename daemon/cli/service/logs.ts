// `bmuxd logs`: shows the log of the daemon, wherever it is: the journal, or a file.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { errnoOf, Failure } from '../../base/failure.ts';
import { usesColor } from '../../base/process/color.ts';
import { ENDING } from '../../base/process/signals.ts';
import { fail } from '../../errors/fail.ts';
import type { CommandContext, Run } from '../command.ts';
import { failWithReader } from '../terminal.ts';
import { FollowedFile } from './followed-file.ts';
import { readableLine } from './log-lines.ts';
import { logFilesOf, runningHealth } from './start.ts';
import { installedService, UNIT } from './installed.ts';

/** Lines that are shown without `--lines`. */
const DEFAULT_LINES = 200;
const MAX_LINES = 100_000;

export const logs: Run = async (context) => {
  const count = countOf(context.options['lines']);
  const { env, stdout, options } = context;
  const isColored = usesColor(env, stdout.isTTY);
  const isReadable = (stdout.isTTY || isColored) && options['json'] !== true;
  const show = (line: string): void => {
    context.out(isReadable ? readableLine(line, isColored) : `${line}\n`);
  };
  const place = await placeOf(context);
  if (place === 'stderr') throw fail('log_on_stderr');
  const follow = context.options['follow'] === true;
  if (follow) failWithReader(stdout);
  return place === 'journal'
    ? journal(context, { count, follow, show })
    : file(context, place, { count, follow, show });
};

interface Wanted {
  readonly count: number;
  readonly follow: boolean;
  readonly show: (line: string) => void;
}

function countOf(value: string | boolean | undefined): number {
  if (typeof value !== 'string') return DEFAULT_LINES;
  const count = /^\d+$/.test(value) ? Number(value) : NaN;
  if (count >= 0 && count <= MAX_LINES) return count;
  const why = `bmuxd logs: --lines: '${value}' is not a whole number up to ${String(MAX_LINES)}`;
  throw fail('usage', { why, command: 'bmuxd logs' });
}

/** What the running daemon says; without one, the log of the installed service, or of the last `bmuxd start`. */
async function placeOf({ env }: CommandContext): Promise<string> {
  try {
    const health = await runningHealth(env);
    if (health?.log !== undefined) return health.log;
  } catch (error) {
    // A daemon that hangs has a log, which may say why.
    if (!(error instanceof Failure)) throw error;
  }
  return installedService(env)?.log ?? logFilesOf(env).log;
}

async function file(
  { stdout, err }: CommandContext,
  path: string,
  { count, follow, show }: Wanted,
): Promise<number> {
  if (!existsSync(path) && !follow) throw fail('log_missing', { path });
  const onGap = (): void => {
    err('bmuxd logs: lines may be missing here: the log file was replaced or emptied\n');
  };
  const followed = new FollowedFile({ path, show, onGap });
  if (!follow) await followed.last(count);
  else {
    await ended(stdout, async (stop) => {
      await followed.last(count);
      await followed.follow(stop);
    });
  }
  return 0;
}

/** Runs `work` until it ends, a signal comes, or nobody reads the output any more. */
async function ended(
  stdout: CommandContext['stdout'],
  work: (stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const onEnd = (): void => {
    stop.abort();
  };
  for (const signal of ENDING) process.once(signal, onEnd);
  stdout.once('error', onEnd);
  try {
    await work(stop.signal);
  } finally {
    for (const signal of ENDING) process.off(signal, onEnd);
    stdout.off('error', onEnd);
  }
}

/** `journalctl` has the lines of the unit. They are as bmuxd has written them, without the priority. */
function journal({ stdout, err }: CommandContext, { count, follow, show }: Wanted): Promise<number> {
  const args = ['--user', '--unit', UNIT, '--output', 'cat', '--lines', String(count)];
  return new Promise((resolve, reject) => {
    const child = spawn('journalctl', [...args, ...(follow ? ['--follow'] : ['--no-pager'])], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const onError = (): void => {
      child.kill();
    };
    stdout.once('error', onError);
    child.stderr.on('data', (text: Buffer) => {
      err(text.toString());
    });
    let held = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => {
      const lines = (held + text).split('\n');
      held = lines.pop() ?? '';
      for (const line of lines) show(line);
    });
    child.once('error', (error) => {
      reject(
        errnoOf(error) === 'ENOENT'
          ? fail('command_missing', { command: 'journalctl' }, error)
          : fail('command_unrunnable', { command: 'journalctl', why: error.message }, error),
      );
    });
    child.once('close', (status) => {
      if (held !== '') show(held);
      resolve(status === 0 || stdout.destroyed || status === null ? 0 : 1);
    });
  });
}
