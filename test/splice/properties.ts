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

/**
 * What a side does. `kill` drops what its process had not written yet. A close or a kill after `stall` resets the connection when there are
 * unread bytes. A bmux server never half-closes, so that only clients do.
 */
type Deed = 'write' | 'half-close' | 'close' | 'kill' | 'stall' | 'read';
interface Step {
  readonly side: 'client' | 'server';
  readonly deed: Deed;
  readonly bytes: number;
  /** The next deed of the same side follows at once. */
  readonly hurry: boolean;
}

const PIECE_BYTES = 16 * 1024;

/** One end of a connection: does deeds, and notes what it observes. */
class Side {
  readonly socket: Socket;
  readonly check = new PatternCheck();
  end: 'open' | 'end' | 'reset' = 'open';
  /** Bytes that were written, and those of them that the kernel has taken. */
  sent = 0;
  flushed = 0;
  #closed = false;
  #killed = false;
  #halfClosed = false;
  #writing = false;

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

  /** A kill has dropped bytes: how many the kernel had room for depends on the buffers of the path. */
  get dropped(): boolean {
    return this.#killed && this.flushed < this.sent;
  }

  do({ deed, bytes }: Step): void {
    const { socket } = this;
    if (this.#closed) return;
    switch (deed) {
      case 'write':
        if (this.#halfClosed) return;
        this.sent += bytes;
        this.#write();
        break;
      case 'half-close':
        this.#halfClosed = true;
        this.#write();
        break;
      case 'close':
        this.#closed = true;
        this.#write();
        break;
      case 'kill':
        this.#closed = true;
        this.#killed = true;
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

  /** Writes what is left in pieces, so that `flushed` is exact, and then the end. */
  #write(): void {
    if (this.#writing || this.#killed) return;
    const bytes = Math.min(PIECE_BYTES, this.sent - this.flushed);
    if (bytes > 0 && this.socket.writable) {
      this.#writing = true;
      this.socket.write(pattern(this.flushed, bytes), (error) => {
        this.#writing = false;
        if (this.#killed) return;
        if (!error) this.flushed += bytes;
        this.#write();
      });
    } else if (this.#closed) this.socket.destroySoon();
    else if (this.#halfClosed) this.socket.end();
  }
}

const deed = (side: Step['side'], deeds: readonly Deed[]): fc.Arbitrary<Step> =>
  fc.record({
    side: fc.constant(side),
    deed: fc.constantFrom(...deeds),
    // The larger ones fill the buffers of the path.
    bytes: fc.oneof(
      { weight: 3, arbitrary: fc.integer({ min: 1, max: 8000 }) },
      fc.integer({ min: 20_000, max: 400_000 }),
    ),
    hurry: fc.boolean(),
  });
const USUAL: readonly Deed[] = ['write', 'write', 'write', 'stall', 'read', 'close', 'kill'];
/** How much is buffered for a client that does not read. */
const limit = fc.constantFrom(65_536, 1_048_576);
const any = fc.oneof(deed('client', [...USUAL, 'half-close']), deed('server', USUAL));
/** All buffers on the way from one side to the other are full. */
const crowded = fc
  .record({ client: fc.boolean(), bytes: fc.integer({ min: 200_000, max: 900_000 }) })
  .map(({ client, bytes }): Step[] => [
    { side: client ? 'server' : 'client', deed: 'stall', bytes: 0, hurry: false },
    { side: client ? 'client' : 'server', deed: 'write', bytes, hurry: false },
  ]);
const steps = fc
  .tuple(fc.oneof(fc.constant([]), crowded), fc.array(any, { minLength: 1, maxLength: 12 }))
  .map(([before, deeds]) => [...before, ...deeds]);

const step = (side: Step['side'], deed: Deed, bytes = 0): Step => ({ side, deed, bytes, hurry: false });
/** Ends with bytes in all buffers of the way. */
const EXAMPLES: [Step[], number][] = [
  [
    [
      step('server', 'stall'),
      step('client', 'write', 500_000),
      step('client', 'stall'),
      step('server', 'write', 1000),
      step('client', 'kill'),
    ],
    65_536,
  ],
  [
    [
      step('server', 'stall'),
      step('client', 'write', 500_000),
      step('client', 'kill'),
      step('server', 'write', 1000),
    ],
    65_536,
  ],
  [[step('client', 'stall'), step('server', 'write', 450_000), step('server', 'close')], 1_048_576],
];

/** More turns of the event loop than any deed needs to reach the other side through the splice, and than a piece of a write needs. */
const TURNS = 16;
const PIECE_TURNS = 3;
/** In the time of so many bytes, something changes unless both connections are at rest. */
const CALM_BYTES = 256 * 1024;
async function settle(bytes = 0): Promise<void> {
  const turns = TURNS + PIECE_TURNS * Math.floor(bytes / PIECE_BYTES);
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
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
      fc.asyncProperty(steps, limit, async (deeds, clientBufferLimit) => {
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
          clientBufferLimit,
          // An end that comes only with this limit is a wrong one.
          endMs: 600_000,
          onEnd: (why) => (lost = why),
        });
        startReading(near);
        remote.resume();
        for (const side of [direct, spliced])
          for (const one of [side.client, side.server]) startReading(one.socket);
        await settle();
        // The room on the path decides when such a server closes, and so whether it closes with unread bytes.
        let closesLate = false;
        for (const [at, step] of deeds.entries()) {
          direct[step.side].do(step);
          spliced[step.side].do(step);
          if (step.hurry && deeds[at + 1]?.side === step.side) continue;
          await settle(step.deed === 'write' ? step.bytes : 0);
          for (const { server } of [direct, spliced])
            closesLate ||= server.closed && server.flushed < server.sent;
        }
        for (const world of [direct, spliced])
          for (const one of [world.client, world.server])
            one.do({ side: 'client', deed: 'read', bytes: 0, hurry: false });
        // The server always gets a proper end. A client learns of a loss from the engine, not from its socket.
        const dropped = (side: Step['side']): boolean => direct[side].dropped || spliced[side].dropped;
        const seen = ({ client, server }: typeof direct, isLost: boolean): unknown => ({
          client: client.closed || [
            dropped('server') || client.check.count,
            client.end === 'open' ? 'open' : closesLate ? 'over' : isLost ? 'lost' : 'end',
          ],
          server: server.closed || [
            dropped('client') || server.check.count,
            server.end === 'open' ? 'open' : 'end',
          ],
        });
        const both = (): readonly [unknown, unknown] => [
          seen(spliced, lost !== undefined),
          seen(direct, direct.client.end === 'reset'),
        ];
        const same = (): boolean => JSON.stringify(both()[0]) === JSON.stringify(both()[1]);
        const calm = async (): Promise<boolean> => {
          const before = JSON.stringify(both());
          await settle(CALM_BYTES);
          return same() && JSON.stringify(both()) === before;
        };
        await waitFor('the same observations', calm).catch(() => undefined);
        deepEqual(...both());
        for (const { client, server } of [direct, spliced]) {
          // What the kernel has taken of one side reaches the other, unless that has closed.
          for (const [from, to] of [
            [client, server],
            [server, client],
          ] as const)
            if (!to.closed)
              ok(to.check.count >= from.flushed && to.check.count <= from.sent, 'bytes are missing');
          for (const { check, socket } of [client, server]) {
            deepEqual(check.badAt, undefined);
            socket.destroy();
          }
        }
        await splice.done;
      }),
      { numRuns: runs, examples: EXAMPLES },
    );
  } finally {
    servers.server.close();
    clients.server.close();
    await rm(folder, { recursive: true, force: true });
  }
}
