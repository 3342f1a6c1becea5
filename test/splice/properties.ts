// A property of the splice: each side observes what it would observe on a direct socket, except as docs/stream-ends.md says.
import { deepEqual, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { drainAfterWriteError } from '../../daemon/base/streams/drain-after-write-error.ts';
import { confirmEnd } from '../../daemon/base/streams/judge-end.ts';
import { adopt, startReading, stopReading } from '../../daemon/sockets/accepted-socket.ts';
import { Splice } from '../../daemon/splice/splice.ts';
import { openLocal } from '../../daemon/transport/local.ts';
import { pattern, PatternCheck } from '../embedded/traffic.ts';
import { waitFor } from '../real/child.ts';
import { within } from '../transport/dialling.ts';

/** What a side does. `kill` drops what its process had not written yet. A bmux server never half-closes, so that only clients do. */
type Deed = 'write' | 'half-close' | 'close' | 'kill' | 'stall' | 'read';
interface Step {
  readonly side: 'client' | 'server';
  readonly deed: Deed;
  readonly bytes: number;
}

/** One end of a connection: does deeds, and notes what it observes. */
class Side {
  readonly socket: Socket;
  readonly check = new PatternCheck();
  end: 'open' | 'end' | 'reset' = 'open';
  #sent = 0;
  #closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.check.push(chunk));
    socket.on('end', () => (this.end = 'end'));
    socket.on('error', () => (this.end = 'reset'));
    confirmEnd(socket);
    drainAfterWriteError(socket);
  }

  get closed(): boolean {
    return this.#closed;
  }

  do({ deed, bytes }: Step): void {
    const { socket } = this;
    if (this.#closed) return;
    switch (deed) {
      case 'write':
        if (socket.writableEnded) return;
        socket.write(pattern(this.#sent, bytes));
        this.#sent += bytes;
        break;
      case 'half-close':
        socket.end();
        break;
      case 'close':
        this.#closed = true;
        socket.destroySoon();
        break;
      case 'kill':
        this.#closed = true;
        socket.destroy();
        break;
      case 'stall':
        stopReading(socket);
        break;
      case 'read':
        startReading(socket);
        break;
    }
  }
}

const deed = (side: Step['side'], deeds: readonly Deed[]): fc.Arbitrary<Step> =>
  fc.record({
    side: fc.constant(side),
    deed: fc.constantFrom(...deeds),
    bytes: fc.integer({ min: 1, max: 8000 }),
  });
const USUAL: readonly Deed[] = ['write', 'write', 'write', 'stall', 'read', 'close', 'kill'];
const steps = fc.array(fc.oneof(deed('client', [...USUAL, 'half-close']), deed('server', USUAL)), {
  minLength: 1,
  maxLength: 12,
});

/** More turns of the event loop than any deed needs to reach the other side through the splice. */
const TURNS = 16;
async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Listens on `path`; the first connection after a call of the returned function belongs to the caller of it. */
async function listen(path: string): Promise<{ server: Server; next: () => Promise<Socket> }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(path);
  await once(server, 'listening');
  let take: ((socket: Socket) => void) | undefined;
  server.on('connection', (socket) => {
    // Nobody waits for the connection with which the engine looks whether the server lives.
    if (take === undefined) socket.on('error', () => undefined).destroy();
    else take(socket);
    take = undefined;
  });
  return { server, next: () => new Promise((resolve) => (take = resolve)) };
}

/** Runs random deeds of both sides on a direct connection and through a splice, and compares what the sides observe. */
export async function spliceIsTransparent(runs: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-prop-'));
  const [serverPath, clientPath] = [join(folder, 's'), join(folder, 'c')];
  const servers = await listen(serverPath);
  const clients = await listen(clientPath);
  try {
    await fc.assert(
      fc.asyncProperty(steps, async (deeds) => {
        const accepted = servers.next();
        const direct = {
          client: new Side(connect({ path: serverPath, allowHalfOpen: true })),
          server: new Side(await accepted),
        };
        const [arrived, taken] = [clients.next(), servers.next()];
        const client = new Side(connect({ path: clientPath, allowHalfOpen: true }));
        const near = adopt(await arrived);
        ok(near !== undefined);
        const remote = await openLocal({ transport: 'local', socketPath: serverPath }, within(10_000));
        const spliced = { client, server: new Side(await taken) };
        let lost: string | undefined;
        const splice = new Splice({
          client: near,
          remote,
          clientBufferLimit: 65_536,
          onEnd: (why) => (lost = why),
        });
        startReading(near);
        remote.resume();
        for (const side of [direct, spliced])
          for (const one of [side.client, side.server]) startReading(one.socket);
        await settle();
        for (const step of deeds) {
          direct[step.side].do(step);
          spliced[step.side].do(step);
          await settle();
        }
        for (const world of [direct, spliced])
          for (const one of [world.client, world.server]) one.do({ side: 'client', deed: 'read', bytes: 0 });
        // The server always gets a proper end. A client learns of a loss from the engine, not from its socket.
        const seen = ({ client, server }: typeof direct, isLost: boolean): unknown => ({
          client: client.closed || [
            client.check.count,
            client.end === 'open' ? 'open' : isLost ? 'lost' : 'end',
          ],
          server: server.closed || [server.check.count, server.end === 'open' ? 'open' : 'end'],
        });
        const both = (): readonly [unknown, unknown] => [
          seen(spliced, lost !== undefined),
          seen(direct, direct.client.end === 'reset'),
        ];
        const same = (): boolean => JSON.stringify(both()[0]) === JSON.stringify(both()[1]);
        await waitFor('the same observations', same, 5000).catch(() => undefined);
        await settle();
        deepEqual(...both());
        for (const { client, server } of [direct, spliced])
          for (const { check, socket } of [client, server]) {
            deepEqual(check.badAt, undefined);
            socket.destroy();
          }
        await splice.done;
      }),
      { numRuns: runs },
    );
  } finally {
    servers.server.close();
    clients.server.close();
    await rm(folder, { recursive: true, force: true });
  }
}
