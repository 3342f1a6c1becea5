// `bmuxd ping`: measures round trips to a target's server over its warm connection.
import { printable } from '../../errors/text.ts';
import { SCHEMA } from '../../api/answers.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { sleep } from '../../base/async/sleep.ts';
import type { Run } from '../command.ts';
import { countOf } from '../option-values.ts';
import { openAnswered, unanswered } from '../reach.ts';
import { hanging } from '../help/columns.ts';
import { roomOf } from '../table.ts';

/** ms between two Pings. */
const BETWEEN_MS = 1000;
const MAX_COUNT = 1_000_000;

export const ping: Run = async (context) => {
  const { args, options, stdout } = context;
  const out = (line: string): void => {
    context.out(`${hanging(line, roomOf(stdout)).join('\n')}\n`);
  };
  const [target = ''] = args;
  const isJson = options['json'] === true;
  const count = countOf('ping', 'count', options['count'], { min: 1, max: MAX_COUNT }) ?? 4;
  const { stream, info, openMs } = await openAnswered(
    target,
    { ...context, env: withoutTargetSocket(context.env) },
    'bmuxd ping',
  );
  // Each Ping has a listener of its own while it waits.
  stream.on('error', () => undefined);
  const trips: number[] = [];
  try {
    const how = `${info.transport}, epoch ${String(info.epoch)}, ${info.warm ? 'warm' : 'dialled now'}`;
    if (!isJson) out(printable(`${info.target} (${how}): first answer after ${shown(openMs)}`));
    for (let id = 2; id < count + 2; id += 1) {
      if (id > 2) await sleep(BETWEEN_MS);
      const begun = performance.now();
      const why = await unanswered(stream, info.epoch, { id: BigInt(id) });
      if (why !== undefined) throw why;
      const tripMs = performance.now() - begun;
      trips.push(tripMs);
      if (!isJson) out(printable(`round trip ${String(trips.length)} to ${info.target}: ${shown(tripMs)}`));
    }
  } finally {
    stream.destroy();
  }
  const { target: name, transport, epoch, warm } = info;
  const times = { openMs: rounded(openMs), roundTripsMs: trips.map(rounded) };
  const all = { schema: SCHEMA, target: name, transport, epoch, warm, ...times };
  const mean = trips.reduce((sum, ms) => sum + ms, 0) / trips.length;
  const summary = `min ${shown(Math.min(...trips))}, mean ${shown(mean)}, max ${shown(Math.max(...trips))}`;
  if (isJson) context.out(`${JSON.stringify(all)}\n`);
  else out(summary);
  return 0;
};

/** Whole microseconds, in ms. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function shown(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
}
