// Whether a target answers, found out over a stream of one's own that is ended again: it leaves behind what was learnt, and what is warm.
import type { Duplex } from 'node:stream';
import { openStream } from '../../client-shim/index.ts';
import { fail } from '../errors/fail.ts';
import { encodeRequestFrame } from '../bmux-ipc/ipc.ts';
import { LIMITS } from '../base/limits.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { CommandContext } from './command.ts';

/** Resolves when the server itself has answered; rejects with the broker's text. Warnings about the target go to `err`. */
export async function reach(
  target: string,
  { env, cwd, err }: Pick<CommandContext, 'env' | 'cwd' | 'err'>,
  clientName: string,
): Promise<void> {
  for (let last = false; ; last = true) {
    const { stream, info } = await openStream({ target, env, cwd, clientName, scope: 'recovery_inspection' });
    const why = await unanswered(stream, info.epoch);
    stream.destroy();
    if (why === undefined) {
      for (const warning of info.warnings) err(`bmuxd: ${warning}\n`);
      return;
    }
    // The Hello may have been answered from memory. That memory is gone now: the next answer is the server's own.
    if (last) throw fail('stream_lost', { why });
  }
}

/** Sends a Ping; resolves with why there is no answer to it, or with nothing. */
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
