// Tests whether a target answers, over a stream that is closed afterwards. The protocol cache entry and the warm connection stay in the engine.
import type { Duplex } from 'node:stream';
import { openStream } from '../../client-shim/index.ts';
import { WaitingLine } from '../../client-shim/waiting-line.ts';
import { fail } from '../errors/fail.ts';
import { encodeRequestFrame } from '../bmux-ipc/ipc.ts';
import { LIMITS } from '../base/limits.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { CommandContext } from './command.ts';

/** Resolves when the server itself has answered; rejects with the broker's failure. Warnings about the target go to `err`. */
export async function reach(
  target: string,
  { env, cwd, err, stderr }: Pick<CommandContext, 'env' | 'cwd' | 'err' | 'stderr'>,
  clientName: string,
): Promise<void> {
  for (let last = false; ; last = true) {
    const line = new WaitingLine({ terminal: () => stderr, target });
    const { stream, info } = await openStream({
      target,
      unknownTarget: 'refuse',
      env,
      cwd,
      clientName,
      scope: 'recovery_inspection',
      onWaiting: line.show,
    }).finally(() => {
      line.end();
    });
    const why = await unanswered(stream, info.epoch);
    stream.destroy();
    if (why === undefined) {
      for (const warning of info.warnings) err(`bmuxd: ${warning}\n`);
      return;
    }
    // The Hello may have been answered from the hello cache. The entry is removed now, so the second attempt gets the server's own answer.
    if (last) throw fail('stream_lost', { why });
  }
}

/** Sends a Ping. Resolves with undefined when an answer comes, else with the reason why none came. */
function unanswered(stream: Duplex, epoch: Epoch): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      resolve(`no answer within ${String(LIMITS.reachMs)} ms`);
    }, LIMITS.reachMs);
    const done = (why: string | undefined): void => {
      clearTimeout(timer);
      resolve(why);
    };
    stream.on('error', (error) => {
      done(error.message);
    });
    stream.once('close', () => {
      done('it was closed');
    });
    stream.once('end', () => {
      done('it ended without an answer');
    });
    stream.once('data', () => {
      done(undefined);
    });
    stream.write(encodeRequestFrame(epoch, 1n, { type: 'ping' }));
  });
}
