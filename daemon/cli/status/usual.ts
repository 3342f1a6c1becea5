// Shows a status in which nothing is wrong. It imports little: `bmuxd status` loads it before the rest of the program, and mostly needs no more.
import type { Status } from '../../api/answers.ts';
import { VERSION_HEADER } from '../../api/header.ts';
import { packageVersion } from '../../base/version.ts';
import { roomOf } from '../table.ts';
import type { ControlAnswer } from './exchange.ts';
import { statusText } from './tables.ts';

/** What the command prints; undefined where something is wrong, or may be. */
export function usualText(
  answer: ControlAnswer,
  asJson: boolean,
  stdout: Parameters<typeof roomOf>[0],
): string | undefined {
  try {
    const status = usual(answer);
    if (status === undefined) return undefined;
    return asJson ? `${JSON.stringify(status, null, 2)}\n` : statusText(status, roomOf(stdout));
  } catch {
    // It has another form.
    return undefined;
  }
}

/**
 * The status of a daemon of this version in which nothing is wrong. It has the form of `Status` then, and that is not checked: the checks take
 * longer than all else here.
 */
function usual({ status, headers, body }: ControlAnswer): Status | undefined {
  if (status !== 200 || headers[VERSION_HEADER] !== packageVersion()) return undefined;
  const found = body as Status;
  const { state, problems, lostConnections } = found;
  return state === 'ready' && problems.length === 0 && lostConnections === undefined ? found : undefined;
}
