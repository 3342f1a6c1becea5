// The least that a hand-off between two processes costs in Node: an HTTP upgrade, the socket sent to a child, which dials the server, says
// Hello, answers 101 and pipes. No policy, no config, no limits, no ends. argv[2]: BareHandoffOptions.
import { fork } from 'node:child_process';
import { createServer } from 'node:http';
import { connect, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { HELLO } from '../upgrade.ts';

export interface BareHandoffOptions {
  readonly listen: string;
  /** The server's socket. */
  readonly path: string;
}

/** What comes with a socket: what was read of it already, base64. */
interface Handed {
  readonly head: string;
}

const { listen, path } = JSON.parse(process.argv[2] ?? '{}') as BareHandoffOptions;

function engine(): void {
  process.on('message', ({ head }: Handed, near: unknown) => {
    if (!(near instanceof Socket)) return;
    const far = connect(path);
    const gone = (): void => {
      near.destroy();
      far.destroy();
    };
    near.on('error', gone);
    far.on('error', gone);
    far.write(HELLO);
    far.once('data', () => {
      near.write('HTTP/1.1 101 Switching Protocols\r\n\r\n');
      far.write(Buffer.from(head, 'base64'));
      near.pipe(far);
      far.pipe(near);
    });
  });
  process.once('disconnect', () => process.exit());
}

function control(): void {
  const child = fork(fileURLToPath(import.meta.url), [process.argv[2] ?? '', 'engine']);
  const server = createServer();
  server.on('upgrade', (_request, socket, head) => {
    if (!(socket instanceof Socket)) return;
    socket.on('error', () => undefined);
    socket.pause();
    const handed: Handed = { head: head.toString('base64') };
    child.send(handed, socket, (error) => {
      if (error !== null) process.exitCode = 1;
    });
  });
  server.listen(listen, () => process.stdout.write('{}\n'));
}

if (process.argv[3] === 'engine') engine();
else control();
