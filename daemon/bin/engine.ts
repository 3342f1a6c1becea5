// Entry point of the engine process; started by control only.
import { textOf } from '../base/failure.ts';
import { giveBackAtRest } from '../base/memory.ts';
import type { Channel } from '../engine/channel.ts';
import { runEngine, type Engine } from '../engine/main.ts';
import { checkNodeInternals } from '../sockets/check-node.ts';
import { afterThrow } from '../transport/read-buffers.ts';
import { isToEngine, type EngineStart } from '../engine-protocol/messages.ts';

giveBackAtRest();

/** Messages that come before somebody listens: the channel delivers them as soon as there is one listener. */
const early: [message: unknown, handle: unknown][] = [];
let deliver = (message: unknown, handle: unknown): void => {
  early.push([message, handle]);
};
process.on('message', (message, handle) => {
  deliver(message, handle);
});
const channel: Channel = {
  isOpen: () => process.send !== undefined && process.connected,
  send: (message, sent) => {
    process.send?.(message, undefined, undefined, sent);
  },
  onMessage: (listener) => {
    deliver = listener;
    for (const [message, handle] of early.splice(0)) listener(message, handle);
  },
  onGone: (listener) => {
    if (!process.connected) listener();
    else process.once('disconnect', listener);
  },
  exit: (status) => {
    process.exit(status);
  },
};

// A terminal's signals are for control: an engine outlives it. These two must not end it before it is set up either.
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);

/** What control tells first. */
function started(): Promise<EngineStart> {
  return new Promise((resolve, reject) => {
    channel.onGone(() => {
      reject(new Error('control has gone'));
    });
    deliver = (message, handle) => {
      if (isToEngine(message) && message.type === 'start') {
        deliver = (next, nextHandle) => {
          early.push([next, nextHandle]);
        };
        resolve(message.start);
      } else early.push([message, handle]);
    };
  });
}

async function startEngine(): Promise<Engine> {
  const start = await started();
  checkNodeInternals();
  return runEngine(start, channel, process.env);
}

const engine = await startEngine().catch((error: unknown) => {
  // Its stdio is nobody's: control says why there is no engine.
  if (!channel.isOpen()) process.exit(1);
  channel.send({ type: 'retiring', why: textOf(error) }, () => process.exit(1));
  throw error;
});
// The machine goes down, or somebody means this engine: streams still get their proper end.
process.once('SIGTERM', () => {
  engine.stop();
});
// Live streams are worth more than a clean slate: this engine takes no more, finishes what it has, and another one takes over.
process.on('uncaughtException', (error) => {
  afterThrow();
  engine.retire(error);
});
process.on('unhandledRejection', (error) => {
  engine.retire(error);
});
