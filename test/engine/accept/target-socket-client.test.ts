// Tests that a client of a target socket gets the same bytes and ends as from the server itself, whatever it sends first.
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { FairBound } from '../../../daemon/engine/accept/fair-bound.ts';
import {
  acceptedFrom,
  openAsPlanned,
  type Open,
} from '../../../daemon/engine/accept/target-socket-client.ts';
import { Tally } from '../../../daemon/engine/metrics/tally.ts';
import { StreamEnds } from '../../../daemon/engine/stream-ends.ts';
import { BufferBudget } from '../../../daemon/splice/buffer-budget.ts';
import { Streams } from '../../../daemon/engine/streams.ts';
import { stopReading } from '../../../daemon/sockets/accepted-socket.ts';
import { ProtocolCache } from '../../../daemon/hello/protocol-cache.ts';
import { encodeFrame, FrameReader } from '../../../daemon/bmux-ipc/frame.ts';
import {
  decodeEnvelope,
  decodeResponse,
  defaultContract,
  encodeEnvelope,
  encodeRequest,
  encodeRequestFrame,
} from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import type { Plan } from '../../../daemon/engine-protocol/plan.ts';
import { TestClient } from '../../embedded/client.ts';
import { open, start } from '../../embedded/server/start-server.ts';
import { coldUpstreams } from '../../hello/cold.ts';
import { planFor } from '../../hello/opener.ts';
import { waitFor } from '../../real/child.ts';
import { readAll } from '../../transport/dialling.ts';
import { socketPairs } from '../socket-pairs.ts';

const pairs = await socketPairs();
t.teardown(() => pairs.close());

/** The parts of an engine that serve a client. Each client of the returned `connect` is served with `plan`. */
async function targetSocket(t: Test, plan: Plan) {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-target-socket-client-'));
  const protocolCache = new ProtocolCache({
    path: join(folder, 'protocol-cache.json'),
    log: { warn: () => undefined },
  });
  const { upstreams, transports } = coldUpstreams(protocolCache);
  const told = new StreamEnds();
  const streams = new Streams({
    opening: new FairBound({ perKey: () => 256, total: 4096 }),
    upstreams,
    ends: transports.ends,
    log: pino({ level: 'silent' }),
    event: () => undefined,
    generation: 'g',
    told,
    tally: new Tally('g'),
    budget: new BufferBudget(() => Infinity),
    clientBufferLimit: () => 0,
    onIdle: () => undefined,
  });
  t.teardown(async () => {
    await streams.endAll('test');
    await upstreams.close();
    await rm(folder, { recursive: true, force: true });
  });
  const connect = async (head = 0, open?: Open): Promise<Socket> => {
    const { client, accepted } = await pairs.open();
    void (async () => {
      const read = head > 0 ? await readHead(accepted, head) : Buffer.alloc(0);
      const asked = await acceptedFrom(accepted, plan, read);
      if (asked !== undefined) streams.add({ ...asked, ...(open === undefined ? {} : { open }) });
    })();
    return client;
  };
  return { connect, streams, told, protocolCache };
}

/** Reads the first bytes of a client before it is accepted. */
async function readHead(socket: Socket, length: number): Promise<Buffer> {
  socket.resume();
  const head = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  stopReading(socket);
  if (head.length < length) throw new Error('the client sent fewer bytes than expected');
  return head;
}

const hello = (epoch: Epoch, over: object = {}) => ({
  type: 'hello' as const,
  contract: { ...defaultContract(epoch), ...over },
  clientName: 'cli',
  principalId: '00112233-4455-6677-8899-aabbccddeeff',
});
const otherVersion = (version: number, epoch: Epoch): Buffer =>
  encodeFrame(
    encodeEnvelope({ version, requestId: 5n, kind: 'request', payload: encodeRequest(epoch, hello(epoch)) }),
  );

/** Frames of clients. They are sent in one piece, followed by the end. */
const BEGINNINGS: Readonly<Record<string, readonly Buffer[]>> = {
  'a Hello and a Ping': [
    encodeRequestFrame(4, 1n, hello(4)),
    encodeRequestFrame(4, 2n, { type: 'ping' }),
    encodeRequestFrame(4, 3n, { type: 'whoami' }),
  ],
  'a Hello with another request id': [encodeRequestFrame(4, 77n, hello(4))],
  'a contract with a capability that the server does not have': [
    encodeRequestFrame(4, 1n, hello(4, { capabilities: [...defaultContract(4).capabilities, 'x.y'] })),
  ],
  'revisions that the server does not have': [
    encodeRequestFrame(4, 9n, hello(4, { revisions: { min: 7, max: 8 } })),
  ],
  'a core capability missing': [encodeRequestFrame(4, 9n, hello(4, { capabilities: ['core.control'] }))],
  'a contract of another epoch in its envelope': [encodeRequestFrame(4, 9n, hello(4, { epoch: 3 }))],
  'a Ping first': [encodeRequestFrame(4, 9n, { type: 'ping' })],
  'a Hello in the wrong envelope': [otherVersion(3, 4)],
  'an envelope of an unknown version': [otherVersion(9, 4)],
  'a frame of random bytes': [encodeFrame(Buffer.from('what?'))],
  'half a frame': [encodeRequestFrame(4, 1n, hello(4)).subarray(0, 20)],
  nothing: [],
};

t.test('whatever the client sends first, the answer is byte for byte that of the server', async (t) => {
  const server = await start(t, { epoch: 4 });
  const { connect, streams } = await targetSocket(
    t,
    planFor({ transport: 'local', socketPath: server.socketPath }),
  );
  for (const [name, frames] of Object.entries(BEGINNINGS)) {
    const ask = async (socket: Socket): Promise<Buffer> => {
      socket.on('error', () => undefined);
      socket.end(Buffer.concat(frames));
      return readAll(socket);
    };
    const direct = await ask(open(t, server.socketPath));
    t.strictSame(await ask(await connect()), direct, name);
  }
  await waitFor('the streams to be over', () => streams.size === 0);
});

t.test('a client of the other epoch gets a refusal, although the server only closes', async (t) => {
  const server = await start(t, { epoch: 4 });
  const { connect } = await targetSocket(t, planFor({ transport: 'local', socketPath: server.socketPath }));
  const client = new TestClient(await connect(), { epoch: 3 });
  await t.rejects(client.hello(), /epoch/);
});

t.test(
  'a client that waits for each answer is served, also when its first bytes were read before',
  async (t) => {
    const server = await start(t, { epoch: 'both' });
    const { connect } = await targetSocket(t, planFor({ transport: 'local', socketPath: server.socketPath }));
    for (const epoch of [3, 4] as const) {
      for (const head of [0, 1]) {
        const client = new TestClient(await connect(head), { epoch });
        await client.hello();
        t.match(await client.request({ type: 'ping' }), { type: 'pong' });
        t.match(await client.request({ type: 'whoami' }), { type: 'principal_identity' });
        client.stream.end();
      }
    }
    t.match(server.stats().lastHello, { clientName: 'test' }, 'the server gets the name of the client');
  },
);

t.test('without a server a Hello is answered with the reason, other requests with an end only', async (t) => {
  const { connect, streams } = await targetSocket(
    t,
    planFor({ transport: 'local', socketPath: '/nonexistent/s.sock' }),
  );
  const answerTo = async (...frames: Buffer[]): Promise<Buffer> => {
    const socket = await connect();
    const errors: unknown[] = [];
    socket.on('error', (error) => errors.push(error));
    socket.write(Buffer.concat(frames));
    const answer = await readAll(socket);
    socket.end();
    await waitFor('the stream to be over', () => streams.size === 0);
    t.strictSame(errors, []);
    return answer;
  };
  const ping = encodeRequestFrame(4, 9n, { type: 'ping' });
  t.equal((await answerTo(ping)).length, 0, 'a Ping first');
  for (const epoch of [3, 4] as const) {
    const answer = await answerTo(encodeRequestFrame(epoch, 77n, hello(epoch)), ping);
    const frames = new FrameReader();
    frames.push(answer);
    const envelope = decodeEnvelope(frames.next() ?? Buffer.alloc(0));
    t.match(envelope, { version: epoch, requestId: 77n, kind: 'response' });
    const response = decodeResponse(epoch, envelope.payload);
    t.match(response, {
      type: 'error',
      code: 'internal',
      message: / ENOENT \S+\. .* \[server_not_running\]$/,
    });
    t.equal(frames.rest().length, 0, 'nothing follows the answer');
  }
});

t.test('the epoch of the server is detected for a client that sends no Hello', async (t) => {
  const server = await start(t, { epoch: 3 });
  const plan = planFor({ transport: 'local', socketPath: server.socketPath });
  const { connect, protocolCache } = await targetSocket(t, plan);
  const socket = await connect();
  socket.end(encodeRequestFrame(3, 9n, { type: 'ping' }));
  const direct = open(t, server.socketPath);
  direct.end(encodeRequestFrame(3, 9n, { type: 'ping' }));
  t.strictSame(await readAll(socket), await readAll(direct));
  t.match(protocolCache.get(`local:${server.socketPath}`), { epoch: 3, compression: 'none' });
});

t.test('a stream that is ended at the moment when it opens says who has ended it', async (t) => {
  const server = await start(t, { epoch: 4 });
  const plan = planFor({ transport: 'local', socketPath: server.socketPath });
  const { connect, streams, told } = await targetSocket(t, plan);
  const client = await connect(0, async (...asked) => {
    const opened = await openAsPlanned(...asked);
    t.ok(streams.end('g-1', 'the one who asked'));
    return opened;
  });
  client.on('error', () => undefined);
  client.write(encodeRequestFrame(4, 1n, hello(4)));
  await readAll(client);
  await waitFor('the stream to be over', () => streams.size === 0);
  t.match(told.end('g-1'), { known: true, lost: 'it was ended by the one who asked' });
});
