// Connected pairs of real Unix sockets, read as the daemon reads its own: what a test holds at one end, the splice has at the other.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { adopt } from '../../daemon/handoff/socket.ts';
import { connectReading } from '../../daemon/transport/read-buffers.ts';

export interface Pairs {
  /** `[near, far]`, both half-open. */
  pair(): Promise<readonly [Socket, Socket]>;
  close(): Promise<void>;
}

export async function startPairs(): Promise<Pairs> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pairs-'));
  const path = join(folder, 's.sock');
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(path);
  await once(server, 'listening');
  const all: Socket[] = [];
  // Accepts come in the order of the connects: one at a time is matched.
  let last: Promise<unknown> = Promise.resolve();
  const make = async (): Promise<readonly [Socket, Socket]> => {
    const accepted = once(server, 'connection');
    const near = connectReading({ path, allowHalfOpen: true });
    await once(near, 'connect');
    const [arrived] = (await accepted) as [Socket];
    const far = adopt(arrived);
    if (far === undefined) throw new Error('the client has left');
    for (const socket of [near, far]) {
      socket.on('error', () => undefined);
      all.push(socket);
    }
    return [near, far];
  };
  return {
    pair: () => {
      const made = last.then(make);
      last = made.catch(() => undefined);
      return made;
    },
    close: async () => {
      for (const socket of all) socket.destroy();
      server.close();
      await once(server, 'close');
      await rm(folder, { recursive: true, force: true });
    },
  };
}
