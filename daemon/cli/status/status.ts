// `bmuxd status`: shows the state of the daemon. Exit status 0 ready, 1 degraded, 3 not running.
import { asText } from '../../errors/text.ts';
import { Failure } from '../../base/failure.ts';
import { SCHEMA, type Status } from '../../api/answers.ts';
import { isStatus } from '../../api/answer-shapes.ts';
import { askControl, STATUS_NOW } from '../ask-control.ts';
import type { CommandContext, Run } from '../command.ts';
import { secondsOf } from '../option-values.ts';
import { roomOf } from '../table.ts';
import { rendered } from './render.ts';
import { monotonicMs } from '../../base/async/monotonic.ts';
import { sleep } from '../../base/async/sleep.ts';

/** ms between two status requests of `--wait`. */
const LOOK_MS = 50;

export const status: Run = async (context) => {
  const [target] = context.args;
  if (target !== undefined) return (await import('./target-status.ts')).targetStatus(target, context);
  if (context.options['watch'] === true) return (await import('./watch.ts')).watch(context);
  const waitMs = secondsOf('status', 'wait', context.options['wait']);
  const until = monotonicMs() + (waitMs ?? 0);
  for (;;) {
    const { shown, state, exit } = await look(context);
    if (state === 'ready' || monotonicMs() >= until) {
      shown();
      // Requests wait for a daemon that is starting, so it is no failure, except to one who waits for its end.
      return state === 'starting' && waitMs === undefined ? 0 : exit;
    }
    await sleep(LOOK_MS);
  }
};

/** `state` of the JSON for a daemon without an answer, by code. */
const STATES: Readonly<Record<string, string>> = {
  daemon_not_running: 'not running',
  daemon_start_late: 'starting',
};

interface Look {
  readonly shown: () => void;
  /** Missing without an answer. */
  readonly state?: Status['state'];
  readonly exit: number;
}

async function look(context: CommandContext): Promise<Look> {
  const { env, options, out, err } = context;
  const json = options['json'] === true;
  try {
    const answer = await askControl(env, STATUS_NOW, isStatus);
    const shown = (): void => {
      out(json ? `${JSON.stringify(answer, null, 2)}\n` : rendered(answer, roomOf(context.stdout)));
    };
    return { shown, state: answer.state, exit: answer.state === 'ready' ? 0 : 1 };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { code, detail, causes, remedy } = error.data;
    const running = code !== 'daemon_not_running';
    const shown = (): void => {
      if (!json) {
        err(asText(error, 'bmuxd'));
        return;
      }
      const state = STATES[code] ?? 'degraded';
      out(`${JSON.stringify({ schema: SCHEMA, state, code, detail, causes, remedy }, null, 2)}\n`);
    };
    return { shown, exit: running ? 1 : 3 };
  }
}
