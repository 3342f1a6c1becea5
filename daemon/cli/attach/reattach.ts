// Runs a command at a target socket, and runs it again when its stream was lost, as soon as the target answers.
import type { Failure } from '../../base/failure.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import type { CommandContext } from '../command.ts';
import { runCommand } from '../shell/run-command.ts';
import { variablesFor, type TargetVariables } from '../target-variables.ts';
import { Attempts } from './attempts.ts';
import { ClientEnds } from './client-ends.ts';
import { TerminalModes } from './modes.ts';
import { RunTime } from './run-time.ts';
import { readKeys, ReconnectLine } from './waiting.ts';

/** ms between the starts of two runs, at least: a target that answers may still end each stream at once. */
const MIN_RUN_MS = 1000;

export interface Reattached {
  /** The target as the user names it; undefined for the default one. */
  readonly target: string | undefined;
  readonly command: string;
  readonly args: readonly string[];
}

/** Resolves with the exit status of the last run. Rejects when the target does not answer at first, and when the person gives up. */
export async function reattach(what: Reattached, context: CommandContext): Promise<number> {
  const { target, command, args } = what;
  let known = await variablesFor(target, context);
  const modes = new TerminalModes();
  for (;;) {
    const ends = new ClientEnds(withoutTargetSocket(context.env));
    const time = new RunTime();
    const env = { ...context.env, ...Object.fromEntries(known.variables) };
    const looked = ends.look();
    const ran = await runCommand(command, args, env);
    await looked;
    modes.restore(ran.status === 0);
    if (ran.isEnded) return ran.status;
    const why = await ends.whyLost({ pid: ran.pid, sinceMs: time.sinceMs, target: known.target });
    if (why === undefined) return ran.status;
    known = await untilBack(target ?? known.target, why, {
      ...context,
      target,
      delayMs: Math.max(0, MIN_RUN_MS - time.elapsedMs),
    });
  }
}

interface ReattachWait extends CommandContext {
  readonly target: string | undefined;
  readonly delayMs: number;
}

/** Resolves when the target answers. */
async function untilBack(name: string, why: string, wait: ReattachWait): Promise<TargetVariables> {
  const { env, cwd, delayMs } = wait;
  let last: Failure | undefined;
  const attempts = new Attempts({
    clock: SYSTEM_CLOCK,
    delayMs,
    attempt: (signal) => variablesFor(wait.target, { env, cwd, err: () => undefined, signal }),
    onFailure: (error) => {
      last = asFailure(error);
      line.failed(last);
    },
  });
  const readNoMore = readKeys(process.stdin, {
    enter: attempts.now,
    giveUp: () => {
      attempts.end(fail('stream_lost', { why }, last));
    },
  });
  // Last: who reads this line may answer it with a signal.
  const line: ReconnectLine = new ReconnectLine({
    terminal: wait.stderr,
    clock: SYSTEM_CLOCK,
    target: name,
    why,
  });
  let isBack = false;
  try {
    const found = await attempts.done;
    isBack = true;
    return found;
  } finally {
    readNoMore();
    line.end(isBack);
  }
}
