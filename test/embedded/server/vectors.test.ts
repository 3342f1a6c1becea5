// The embedded server sends the same bytes as the real ones: the captured conversations of both epochs, byte for byte.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { decodeEnvelope, decodeResponse, encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import { realBmux, repositoryRoot, startServer, waitFor } from '../../real/index.ts';
import { open, start } from './start-server.ts';

interface Vectors {
  readonly principal: string;
  readonly cases: readonly {
    readonly name: string;
    readonly sent: readonly string[];
    readonly received: string;
    readonly end: boolean;
  }[];
}

/** The v3 server of the vectors has its own principal. */
const V3_SERVER = 'a52bab46-f996-447a-8088-5e97076b2771';

async function vectors(epoch: Epoch): Promise<Vectors> {
  const path = join(repositoryRoot(), 'test', 'vectors', `v${epoch}-local.json`);
  return JSON.parse(await readFile(path, 'utf8')) as Vectors;
}

interface Played {
  readonly received: string;
  readonly end: boolean;
}

/** Sends the writes in order, and reads until the end or until the expected number of bytes has arrived. */
async function play(t: Test, socketPath: string, sent: readonly string[], expected: Played): Promise<Played> {
  const socket = open(t, socketPath);
  let received = '';
  let end = false;
  socket.on('data', (chunk: Buffer) => (received += chunk.toString('hex')));
  socket.on('end', () => (end = true));
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  for (const part of sent) socket.write(Buffer.from(part, 'hex'));
  await waitFor(
    `${expected.received.length / 2} bytes${expected.end ? ' and the end' : ''}`,
    () => received.length >= expected.received.length && (end || !expected.end),
  );
  // Any extra byte or early end arrives before the answer to one more request.
  if (!expected.end) {
    const before = received.length;
    const epoch = sent[0]?.slice(8, 10) === '03' ? 3 : 4;
    socket.write(encodeRequestFrame(epoch, 99n, { type: 'ping' }));
    await waitFor('a Pong', () => received.length > before || end);
    received = received.slice(0, before);
  }
  socket.destroy();
  return { received, end };
}

/** The captured v3 status contains the snapshot file of the capturing machine, so only the rest is compared. */
function withoutSnapshot(received: string): unknown {
  const bytes = Buffer.from(received, 'hex');
  const status = bytes.subarray(4 + bytes.readUInt32LE(0));
  const { snapshot: _, ...rest } = {
    snapshot: undefined,
    ...decodeResponse(3, decodeEnvelope(status.subarray(4)).payload),
  };
  return rest;
}

async function playAll(t: Test, epoch: Epoch, socketPath: string): Promise<void> {
  const { cases } = await vectors(epoch);
  for (const { name, sent, received, end } of cases) {
    if (epoch === 3 && name === 'hello-then-status') {
      const first = await play(t, socketPath, sent, { received: received.slice(0, 530), end });
      t.strictSame(withoutSnapshot(first.received), withoutSnapshot(received), name);
    } else t.strictSame(await play(t, socketPath, sent, { received, end }), { received, end }, name);
  }
}

t.test('the captured conversations with a v4 server', async (t) => {
  const server = await start(t, { epoch: 4 });
  await playAll(t, 4, server.socketPath);
  await waitFor('every connection to be gone', () => server.connections() === 0);
});

t.test('the captured conversations with a v3 server', async (t) => {
  const server = await start(t, { epoch: 3, principalId: V3_SERVER });
  await playAll(t, 3, server.socketPath);
});

t.test(
  'the same conversations with the real v4 server',
  { skip: realBmux() === undefined && 'real bmux not found' },
  async (t) => {
    const real = await startServer();
    t.teardown(() => real.stop());
    const embedded = await start(t, { epoch: 4 });
    const { cases } = await vectors(4);
    const ping = '050000000402000101';
    const more: Vectors['cases'] = [
      { name: 'an answer instead of a request', sent: ['050000000402010101'], received: '', end: true },
      { name: 'an undecodable first request', sent: ['050000000401000163'], received: '', end: true },
      {
        name: 'a v3 envelope after the Hello',
        sent: [cases[0]?.sent[0] ?? '', '050000000302000101'],
        received: cases[0]?.received ?? '',
        end: true,
      },
      {
        name: 'two requests in one write',
        sent: [`${cases[0]?.sent[0] ?? ''}${ping}`],
        received: cases[1]?.received ?? '',
        end: false,
      },
    ];
    for (const { name, sent, received, end } of [...cases, ...more]) {
      const [fromReal, ours] = await Promise.all([
        play(t, real.socketPath, sent, { received, end }),
        play(t, embedded.socketPath, sent, { received, end }),
      ]);
      // whoami and status contain the server's own principal.
      if (name === 'hello-then-whoami' || name === 'hello-then-status')
        t.equal(ours.received.length, fromReal.received.length, name);
      else t.strictSame(ours, fromReal, name);
    }
  },
);
