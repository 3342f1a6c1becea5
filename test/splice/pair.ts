// Connected pairs of real Unix sockets, set up as in the daemon. The test has one end of a pair, the splice the other.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Test } from 'tap';
import { drainAfterWriteError } from '../../daemon/base/streams/drain-after-write-error.ts';
import { adopt } from '../../daemon/sockets/accepted-socket.ts';
import { Splice, type SpliceEnd, type SpliceOptions } from '../../daemon/splice/splice.ts';
import { connectReading } from '../../daemon/transport/read-buffers.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { PatternCheck, patternPieces } from '../embedded/traffic.ts';

export interface Spliced {
  /** The test's ends. */
  readonly client: Socket;
  readonly server: Socket;
  readonly splice: Splice;
  /** The splice's ends. */
  readonly inner: readonly [Duplex, Duplex];
}

export interface Pairs {
  /** `[near, far]`, both half-open. */
  pair(): Promise<readonly [Socket, Socket]>;
  /** Two pairs whose inner ends are spliced and read. */
  spliced(
    options?: Partial<Pick<SpliceOptions, 'clientBufferLimit' | 'endMs' | 'lingerMs' | 'onEnd' | 'budget'>>,
  ): Promise<Spliced>;
  close(): Promise<void>;
}

export async function startPairs(): Promise<Pairs> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pairs-'));
  const path = join(folder, 's.sock');
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(path);
  await once(server, 'listening');
  const all: Socket[] = [];
  // Only one connect is made at a time, so that the accepted socket is known to belong to it.
  let last: Promise<unknown> = Promise.resolve();
  const make = async (): Promise<readonly [Socket, Socket]> => {
    const accepted = once(server, 'connection');
    const near = connectReading({ path, allowHalfOpen: true });
    await once(near, 'connect');
    drainAfterWriteError(near, LIMITS.lingerMs);
    const [arrived] = (await accepted) as [Socket];
    const far = adopt(arrived);
    if (far === undefined) throw new Error('the client has left');
    for (const socket of [near, far]) {
      socket.on('error', () => undefined);
      all.push(socket);
    }
    return [near, far];
  };
  const pair: Pairs['pair'] = () => {
    const made = last.then(make);
    last = made.catch(() => undefined);
    return made;
  };
  return {
    pair,
    spliced: async (options = {}) => {
      const [client, near] = await pair();
      const [server, far] = await pair();
      const splice = new Splice({ client: near, remote: far, clientBufferLimit: 65_536, ...options });
      near.resume();
      far.resume();
      return { client, server, splice, inner: [near, far] };
    },
    close: async () => {
      for (const socket of all) socket.destroy();
      server.close();
      await once(server, 'close');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function endOf(t: Test, { splice, inner }: Spliced): Promise<SpliceEnd> {
  const end = await splice.done;
  t.ok(inner[0].closed && inner[1].closed, 'both sides are closed');
  return end;
}

/** Writes the numbered bytes with back-pressure; stops when the socket is destroyed. */
export async function send(socket: Socket, bytes: number): Promise<void> {
  for (const piece of patternPieces(bytes)) {
    if (socket.destroyed) return;
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
  }
}

/** Counts the numbered bytes that arrive, and notes the first wrong one. */
export function check(socket: Socket): PatternCheck {
  const checked = new PatternCheck();
  socket.on('data', (chunk: Buffer) => checked.push(chunk));
  return checked;
}
