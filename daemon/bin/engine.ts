// Entry point of the engine process; started by control only.
import { textOf } from '../base/failure.ts';
import { keepHeapSmall } from '../base/memory.ts';
import type { Channel } from '../engine/channel.ts';
import { runEngine } from '../engine/main.ts';
import { afterThrow } from '../transport/read-buffers.ts';
import type { EngineStart } from '../engine-protocol/messages.ts';

keepHeapSmall();
const start = JSON.parse(process.argv[2] ?? '{}') as EngineStart;

const channel: Channel = {
  isOpen: () => process.send !== undefined && process.connected,
  send: (message, sent) => {
    process.send?.(message, undefined, undefined, sent);
  },
  onMessage: (listener) => {
    process.on('message', listener);
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

const engine = await runEngine(start, channel, process.env).catch((error: unknown) => {
  // Its stdio is nobody's: control says why there is no engine.
  if (!channel.isOpen()) process.exit(1);
  channel.send({ type: 'unwell', why: textOf(error) }, () => process.exit(1));
  throw error;
});
// The machine goes down, or somebody means this engine: streams still get their proper end.
process.once('SIGTERM', () => {
  engine.stop();
});
// Live streams are worth more than a clean slate: this engine takes no more, finishes what it has, and another one takes over.
process.on('uncaughtException', (error) => {
  afterThrow();
  engine.unwell(error);
});
process.on('unhandledRejection', (error) => {
  engine.unwell(error);
});
