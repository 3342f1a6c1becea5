// `bmuxd ping`: measures round trips to a target's server over its warm connection.
import { openStream } from '../../../client-shim/index.ts';
import { WaitingLine } from '../../../client-shim/waiting-line.ts';
import { printable } from '../../errors/text.ts';
import { SCHEMA } from '../../api/answers.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { sleep } from '../../base/async/sleep.ts';
import type { CommandContext, Run } from '../command.ts';
import { countOf } from '../option-values.ts';
import { unanswered } from '../reach.ts';

/** ms between two Pings. */
const BETWEEN_MS = 1000;
const MAX_COUNT = 1_000_000;

export const ping: Run = async (context) => {
  const { args, options, cwd, out, err } = context;
  const [target = ''] = args;
  const isJson = options['json'] === true;
  const count = countOf('ping', 'count', options['count'], { min: 1, max: MAX_COUNT }) ?? 4;
  const begun = performance.now();
  const { stream, info } = await opened(target, { ...context, cwd, env: withoutTargetSocket(context.env) });
  // Each Ping has a listener of its own while it waits.
  stream.on('error', () => undefined);
  for (const warning of info.warnings) err(`bmuxd: ${warning}\n`);
  /** The first Ping waits for the stream, too, since its Hello may have been answered from the hello cache. */
  const answered = async (id: number, sinceMs: number): Promise<number> => {
    const why = await unanswered(stream, info.epoch, { id: BigInt(id) });
    if (why !== undefined) throw why;
    return performance.now() - sinceMs;
  };
  const trips: number[] = [];
  let openMs = 0;
  try {
    openMs = await answered(1, begun);
    const how = `${info.transport}, epoch ${String(info.epoch)}, ${info.warm ? 'warm' : 'dialled now'}`;
    if (!isJson) out(printable(`${info.target} (${how}): first answer after ${shown(openMs)}\n`));
    for (let id = 2; id < count + 2; id += 1) {
      if (id > 2) await sleep(BETWEEN_MS);
      const tripMs = await answered(id, performance.now());
      trips.push(tripMs);
      if (!isJson) out(printable(`round trip ${String(trips.length)} to ${info.target}: ${shown(tripMs)}\n`));
    }
  } finally {
    stream.destroy();
  }
  const { target: name, transport, epoch, warm } = info;
  const all = { schema: SCHEMA, target: name, transport, epoch, warm, openMs, roundTripsMs: trips };
  const mean = trips.reduce((sum, ms) => sum + ms, 0) / trips.length;
  const summary = `min ${shown(Math.min(...trips))}, mean ${shown(mean)}, max ${shown(Math.max(...trips))}`;
  out(isJson ? `${JSON.stringify(all)}\n` : `${summary}\n`);
  return 0;
};

async function opened(target: string, { env, cwd, stderr }: Pick<CommandContext, 'env' | 'cwd' | 'stderr'>) {
  const line = new WaitingLine({ terminal: () => stderr, target });
  try {
    return await openStream({
      target,
      unknownTarget: 'refuse',
      env,
      cwd,
      clientName: 'bmuxd ping',
      scope: 'recovery_inspection',
      onWaiting: line.show,
    });
  } finally {
    line.end();
  }
}

function shown(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
}
