// Connected pairs of real Unix sockets: what a test holds at one end, the splice has at the other.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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
    const near = connect({ path, allowHalfOpen: true });
    await once(near, 'connect');
    const [far] = (await accepted) as [Socket];
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
