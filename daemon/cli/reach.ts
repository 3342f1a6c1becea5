// Tests whether a target answers, over a stream that is closed afterwards. The protocol cache entry and the warm connection stay in the engine.
import type { Duplex } from 'node:stream';
import type { StreamInfo } from '../api/answers.ts';
import { openStream } from '../../client-shim/index.ts';
import { WaitingLine } from '../../client-shim/waiting-line.ts';
import { Failure } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import { encodeRequestFrame } from '../bmux-ipc/ipc.ts';
import { LIMITS } from '../base/limits.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { CommandContext } from './command.ts';

export interface ReachContext extends Pick<CommandContext, 'env' | 'cwd' | 'err'> {
  /** Where a wait is shown; nowhere when it is missing. */
  readonly stderr?: CommandContext['stderr'];
  readonly signal?: AbortSignal;
}

/** A stream on which the server itself has answered a Ping, whose request id was 1. */
export interface AnsweredStream {
  readonly stream: Awaited<ReturnType<typeof openStream>>['stream'];
  readonly info: StreamInfo;
  /** ms from the request for the stream to the answer. */
  readonly openMs: number;
}

/** Resolves when the server itself has answered; rejects with the broker's failure. Warnings about the target go to `err`. */
export async function reach(
  target: string | undefined,
  context: ReachContext,
  clientName: string,
): Promise<StreamInfo> {
  const { stream, info } = await openAnswered(target, context, clientName);
  stream.destroy();
  return info;
}

/** As `reach`, and leaves the stream open for its caller. */
export async function openAnswered(
  target: string | undefined,
  { env, cwd, err, stderr, signal }: ReachContext,
  clientName: string,
): Promise<AnsweredStream> {
  for (let last = false; ; last = true) {
    const line = new WaitingLine({ terminal: () => stderr ?? NOWHERE, target });
    const begun = performance.now();
    const { stream, info } = await openStream({
      ...(target === undefined ? {} : { target }),
      ...(signal === undefined ? {} : { signal }),
      unknownTarget: 'refuse',
      env,
      cwd,
      clientName,
      scope: 'recovery_inspection',
      onWaiting: line.show,
    }).finally(() => {
      line.end();
    });
    const why = await unanswered(stream, info.epoch, { signal });
    if (why === undefined) {
      for (const warning of info.warnings) err(`bmuxd: ${warning}\n`);
      return { stream, info, openMs: performance.now() - begun };
    }
    stream.destroy();
    // The Hello may have been answered from the hello cache. The entry is removed now, so the second attempt gets the server's own answer.
    if (last || signal?.aborted === true) throw why;
    if (info.warm) err('bmuxd: the warm connection does not answer, a new one is tried\n');
  }
}

const NOWHERE = { write: () => undefined };

/** Sends a Ping. Resolves with undefined when an answer comes, else with the failure of the stream. `id`: of the request. */
export function unanswered(
  stream: Duplex,
  epoch: Epoch,
  { signal, id = 1n }: { readonly signal?: AbortSignal | undefined; readonly id?: bigint } = {},
): Promise<Failure | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      done(fail('ping_timeout', { ms: LIMITS.reachMs }));
    }, LIMITS.reachMs);
    const done = (why: string | Failure | undefined): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      stream.off('close', onClose).off('end', onEnd).off('data', onData);
      resolve(typeof why === 'string' ? fail('stream_lost', { why }) : why);
    };
    const onAbort = (): void => {
      done('nobody waits for the answer');
    };
    const onClose = (): void => {
      done('it was closed');
    };
    const onEnd = (): void => {
      done('it ended without an answer');
    };
    const onData = (): void => {
      done(undefined);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    // It stays, because the stream may fail later.
    stream.once('error', (error) => {
      done(error instanceof Failure ? error : error.message);
    });
    stream.on('close', onClose).on('end', onEnd).on('data', onData);
    stream.write(encodeRequestFrame(epoch, id, { type: 'ping' }));
  });
}
