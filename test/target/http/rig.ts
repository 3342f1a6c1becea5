// Servers and proxies for the tests of the HTTP client: raw sockets with counts, so that each attempt is seen.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { selfSigned } from '../../embedded/certificate.ts';

export const certificate = selfSigned();
const BODY = '{"target":"tls://gw"}';
export const OK = `HTTP/1.1 200 OK\r\nContent-Length: ${String(BODY.length)}\r\n\r\n${BODY}`;

/** A server of one behaviour, with the head of each request that it got. */
export interface Peer {
  readonly port: number;
  readonly heads: string[];
  readonly connections: Set<Socket>;
  close(): Promise<void>;
}

/** Calls `answer` for each head that arrives. What `answer` does not end stays open. */
export async function peer(
  answer: (socket: Socket, head: string, count: number) => void,
  options: { readonly tls?: boolean } = {},
): Promise<Peer> {
  const heads: string[] = [];
  const connections = new Set<Socket>();
  const serve = (socket: Socket): void => {
    let text = '';
    let count = 0;
    connections.add(socket);
    socket.on('error', () => undefined).on('close', () => connections.delete(socket));
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = text.slice(0, end);
      text = text.slice(end + 4);
      heads.push(head);
      count += 1;
      if (head.startsWith('CONNECT')) socket.off('data', take);
      answer(socket, head, count);
    };
    socket.on('data', take);
  };
  const { certPem: cert, keyPem: key } = certificate;
  const server: Server = options.tls === true ? createTlsServer({ cert, key }, serve) : createServer(serve);
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    heads,
    connections,
    close: async () => {
      for (const socket of connections) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Answers every GET with a target. */
export const answerOk = (socket: Socket): void => void socket.write(OK);

/** Lets a CONNECT through, as a proxy does. */
export function letThrough(socket: Socket, head: string): void {
  const port = Number(/^CONNECT [^ ]*:(\d+) /.exec(head)?.[1]);
  const server = connect(port, '127.0.0.1', () => {
    socket.write('HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n');
    socket.pipe(server).pipe(socket);
  });
  server.on('error', () => socket.destroy()).on('close', () => socket.destroy());
  socket.on('close', () => server.destroy());
}
