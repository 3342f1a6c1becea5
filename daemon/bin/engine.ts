// Entry point of the engine process, which control starts.
import './engine-signals.ts';
import { textOf } from '../base/failure.ts';
import { makeRootStore } from '../base/node-internals.ts';
import { giveBackAtRest } from '../base/process/memory.ts';
import type { Channel } from '../engine/control/channel.ts';
import type { Lifecycle } from '../engine/lifecycle.ts';
import { runEngine } from '../engine/main.ts';
import { loadPeerCheck } from '../sockets/peer.ts';
import { checkNodeInternals } from '../sockets/check-node.ts';
import { afterThrow } from '../transport/read-buffers.ts';
import { isToEngine, type EngineStart } from '../engine-protocol/messages.ts';

giveBackAtRest();

/** Messages that arrived before a listener was set. They are delivered when one is set. */
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

/** Resolves with the content of control's first message, `start`. */
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

async function startEngine(): Promise<Lifecycle> {
  const starting = started();
  // While control gets ready.
  makeRootStore(process.env);
  loadPeerCheck();
  const start = await starting;
  checkNodeInternals();
  return runEngine(start, channel, process.env);
}

/** Ends by signals, and retires by unexpected errors. */
function handle(lifecycle: Lifecycle): void {
  // SIGTERM comes at a shutdown of the machine or from a user. Streams are ended gracefully first. The same signal again ends the engine at once.
  for (const signal of ['SIGTERM', 'SIGQUIT', 'SIGXCPU'] as const)
    process.once(signal, () => {
      void lifecycle.stop(`${signal} to its engine`);
    });
  // After an unexpected error the engine accepts no more streams but keeps the live ones. Control starts another engine for new streams.
  process.on('uncaughtException', (error) => {
    afterThrow();
    lifecycle.retire(error);
  });
  process.on('unhandledRejection', (error) => {
    lifecycle.retire(error);
  });
}

void startEngine().then(handle, (error: unknown) => {
  // The reason is sent to control, which reports why there is no engine. An engine logs nothing to its own stdio.
  if (!channel.isOpen()) process.exit(1);
  channel.send({ type: 'retiring', why: textOf(error) }, () => process.exit(1));
  throw error;
});
