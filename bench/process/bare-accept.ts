// The least that a stream costs when one process accepts it and another decides. The parent binds and keeps the socket. The child accepts, reads
// an HTTP upgrade, asks the parent, dials the server, sends the Hello, answers 101 and pipes. It has no policy, config, limits or graceful ends.
// argv[2]: BareAcceptOptions.
import { fork } from 'node:child_process';
import { createServer } from 'node:http';
import { connect, createServer as createNetServer, Server, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { bindWithoutListen } from '../../daemon/sockets/bind.ts';
import { HELLO } from '../rig/upgrade.ts';

export interface BareAcceptOptions {
  readonly listen: string;
  /** The server's socket. */
  readonly path: string;
}

interface Question {
  readonly id: number;
  readonly header: string;
}

interface Plan {
  readonly id: number;
  readonly path: string;
}

const { listen, path } = JSON.parse(process.argv[2] ?? '{}') as BareAcceptOptions;

function engine(): void {
  const waiting = new Map<number, (plan: Plan) => void>();
  let next = 1;
  const http = createServer();
  http.on('upgrade', (request, near, head) => {
    if (!(near instanceof Socket)) return;
    near.pause();
    const id = next++;
    waiting.set(id, (plan) => {
      const far = connect(plan.path);
      const gone = (): void => {
        near.destroy();
        far.destroy();
      };
      near.on('error', gone);
      far.on('error', gone);
      far.write(HELLO);
      far.once('data', () => {
        near.write('HTTP/1.1 101 Switching Protocols\r\n\r\n');
        far.write(head);
        near.pipe(far);
        far.pipe(near);
      });
    });
    process.send?.({ id, header: String(request.headers['bmux-request']) } satisfies Question);
  });
  process.on('message', (message: Plan | 'listen', handle: unknown) => {
    if (handle instanceof Server) {
      handle.on('connection', (socket) => http.emit('connection', socket));
      process.send?.('listening');
    } else if (message !== 'listen') {
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    }
  });
  process.once('disconnect', () => process.exit());
}

function control(): void {
  const child = fork(fileURLToPath(import.meta.url), [process.argv[2] ?? '', 'engine']);
  const server = createNetServer();
  bindWithoutListen(server, listen);
  child.on('message', (message: Question | 'listening') => {
    if (message === 'listening') process.stdout.write('{}\n');
    else child.send({ id: message.id, path } satisfies Plan);
  });
  child.send('listen', server);
}

if (process.argv[3] === 'engine') engine();
else control();
