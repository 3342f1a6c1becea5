// Connected pairs of Unix sockets. The accepted end is paused and may be half-open, as in the engine.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SocketPair {
  readonly client: Socket;
  /** The accepted end, which does not read yet. */
  readonly accepted: Socket;
}

export interface SocketPairs {
  open(): Promise<SocketPair>;
  close(): Promise<void>;
}

export async function socketPairs(): Promise<SocketPairs> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pairs-'));
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const path = join(folder, 'pairs.sock');
  server.listen(path);
  await once(server, 'listening');
  const open = new Set<Socket>();
  return {
    open: async () => {
      const accepting: Promise<Socket> = new Promise((resolve) => server.once('connection', resolve));
      const client = connect({ path, allowHalfOpen: true });
      const accepted = await accepting;
      for (const socket of [client, accepted]) {
        open.add(socket);
        socket.once('close', () => open.delete(socket));
      }
      return { client, accepted };
    },
    close: async () => {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
      await rm(folder, { recursive: true });
    },
  };
}
