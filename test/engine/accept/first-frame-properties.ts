// Properties of reading a client's first frame, for tests and soaks. `runs` is the number of examples.
import { deepEqual, equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import fc from 'fast-check';
import { readFirstFrame, type FirstFrame } from '../../../daemon/engine/accept/first-frame.ts';
import { startReading } from '../../../daemon/sockets/accepted-socket.ts';
import { encodeRequestFrame, type Request } from '../../../daemon/bmux-ipc/ipc.ts';
import * as any from '../../bmux-ipc/arbitraries.ts';
import { socketPairs, type SocketPair, type SocketPairs } from '../socket-pairs.ts';

/** A time limit for the first frame that no example reaches, ms. */
const LONG_MS = 30_000;

async function withPairs(work: (pairs: SocketPairs) => Promise<void>): Promise<void> {
  const pairs = await socketPairs();
  try {
    await work(pairs);
  } finally {
    await pairs.close();
  }
}

/** Sends `bytes` in these pieces and then the end. Returns the first frame and everything after it. */
async function begin(
  { client, accepted }: SocketPair,
  bytes: Uint8Array,
  sizes: readonly number[],
): Promise<{ readonly first: FirstFrame; readonly after: Buffer }> {
  client.on('error', () => undefined);
  const writing = (async () => {
    for (const chunk of any.cut(bytes, sizes)) {
      client.write(chunk);
      // Waits for a turn of the event loop, so that the chunks do not arrive as one.
      if (bytes.length < 2000) await new Promise((resolve) => setImmediate(resolve));
    }
    client.end();
  })();
  const before = listeners(accepted);
  const first = await readFirstFrame(accepted, LONG_MS);
  ok(accepted.isPaused(), 'the socket is left paused');
  equal(listeners(accepted), before, 'no listener is left');
  await writing;
  const after = first.type === 'gone' ? Buffer.alloc(0) : await rest(accepted);
  client.destroy();
  accepted.destroy();
  return { first, after };
}

function listeners(socket: Socket): number {
  return ['data', 'end', 'close'].reduce((sum, name) => sum + socket.listenerCount(name), 0);
}

async function rest(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  startReading(socket);
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

/** A Hello of either epoch is read in any chunking, and the bytes after it arrive once and in order. */
export function firstFramesSurviveChunking(runs: number): Promise<void> {
  const begun = fc.oneof(
    any.request,
    any.epoch.chain((epoch) =>
      fc.record({
        epoch: fc.constant(epoch),
        request: fc.record({
          type: fc.constant('hello' as const),
          contract: fc.record({
            epoch: fc.constantFrom<number>(epoch, epoch, 3, 4),
            revisions: fc.record({ min: any.u32, max: any.u32 }),
            capabilities: fc.array(any.text, { maxLength: 12 }),
          }),
          clientName: any.text,
          principalId: any.uuid,
        }),
      }),
    ),
  );
  return withPairs((pairs) =>
    fc.assert(
      fc.asyncProperty(begun, any.u64, any.bytes(), any.cuts, async (asked, requestId, more, sizes) => {
        const request: Request = asked.request;
        const { epoch } = asked;
        const frame = encodeRequestFrame(epoch, requestId, request);
        const { first, after } = await begin(await pairs.open(), Buffer.concat([frame, more]), sizes);
        if (request.type === 'hello' && request.contract.epoch === epoch) {
          if (first.type !== 'hello') throw new Error(`it was taken for ${first.type}`);
          const { rest: head, type: _, ...understood } = first;
          const { type: __, ...said } = request;
          deepEqual(plain(understood), plain({ epoch, requestId, ...said }));
          deepEqual(Buffer.concat([head, after]), Buffer.from(more));
        } else {
          if (first.type !== 'other') throw new Error(`it was taken for ${first.type}`);
          equal(first.epoch, epoch);
          deepEqual(Buffer.concat([first.bytes, after]), Buffer.concat([frame, more]));
        }
      }),
      { numRuns: runs },
    ),
  );
}

/** For any bytes the result is a whole frame or `gone`. There is no error, and no byte is lost. */
export function garbageIsNoHello(runs: number): Promise<void> {
  // Random lengths are mostly too large for a frame, so some are made small.
  const bytes = fc.oneof(
    any.bytes(),
    fc.tuple(fc.integer({ min: 0, max: 60 }), any.bytes(80)).map(([length, body]) => {
      const header = Buffer.alloc(4);
      header.writeUInt32LE(length);
      return Buffer.concat([header, body]);
    }),
  );
  return withPairs((pairs) =>
    fc.assert(
      fc.asyncProperty(bytes, any.cuts, async (sent, sizes) => {
        const { first, after } = await begin(await pairs.open(), sent, sizes);
        const length = sent.length < 4 ? Infinity : Buffer.from(sent).readUInt32LE(0);
        equal(first.type === 'gone', sent.length < 4 + length);
        if (first.type === 'other') deepEqual(Buffer.concat([first.bytes, after]), Buffer.from(sent));
      }),
      { numRuns: runs },
    ),
  );
}

/** A parsed value without its prototypes, for comparison. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)),
  );
}

/** All properties by name, for the soak. */
export const PROPERTIES: Readonly<Record<string, (runs: number) => Promise<void>>> = {
  firstFramesSurviveChunking,
  garbageIsNoHello,
};
