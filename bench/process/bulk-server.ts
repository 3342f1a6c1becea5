// A server for bulk measures, in its own process: answers the Hello like a bmux server, then sends or reads bytes without checking them. It listens
// on a Unix socket and on TLS without a gateway. argv[2]: `{path, tls?: {certPem, keyPem}}`. Prints one line of JSON when it listens.
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { Reader, Writer } from '../../daemon/bmux-ipc/codec.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import {
  decodeEnvelope,
  decodeRequest,
  defaultContract,
  encodeResponseFrame,
  negotiate,
  REQUIRED_CAPABILITIES,
  type Response,
} from '../../daemon/bmux-ipc/ipc.ts';
import { pour, SERVICE_ANSWER, supplies, type Order } from '../rig/bulk-order.ts';

export interface BulkServerOptions {
  readonly path: string;
  readonly tls?: { readonly certPem: string; readonly keyPem: string };
}

export interface BulkServerReady {
  readonly tlsPort: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as BulkServerOptions;
const SUPPLIES = supplies();

function serve(socket: Socket): void {
  const reader = new FrameReader();
  socket.on('error', () => socket.destroy());
  const onData = (chunk: Buffer): void => {
    reader.push(chunk);
    for (let payload = reader.next(); payload !== undefined; payload = reader.next()) {
      const order = answer(socket, payload);
      if (order === undefined) continue;
      socket.off('data', onData);
      carry(socket, order, reader.rest());
      return;
    }
  };
  socket.on('data', onData);
  socket.once('end', () => socket.end());
}

/** Answers a frame; returns the order if the frame is one. */
function answer(socket: Socket, payload: Uint8Array): Order | undefined {
  const envelope = decodeEnvelope(payload);
  if (envelope.version !== 4) {
    socket.end(); // like a real server for another epoch
    return undefined;
  }
  const request = decodeRequest(4, envelope.payload);
  const say = (response: Response): void => {
    socket.write(encodeResponseFrame(4, envelope.requestId, response));
  };
  if (request.type === 'hello') {
    const met = negotiate(defaultContract(4), request.contract, REQUIRED_CAPABILITIES[4]);
    if ('negotiated' in met) say({ type: 'hello_negotiated', negotiated: met.negotiated });
    else say({ type: 'hello_incompatible', reason: met.incompatible });
  } else if (request.type === 'ping') say({ type: 'pong' });
  else if (request.type === 'other') {
    const body = new Reader(request.body).bytes();
    say({ type: 'other', index: SERVICE_ANSWER, body: new Writer(body.length + 10).bytes(body).finish() });
    return JSON.parse(Buffer.from(body).toString()) as Order;
  } else say({ type: 'error', code: 'invalid_request', message: 'this server moves bytes only' });
  return undefined;
}

function carry(socket: Socket, order: Order, rest: Buffer): void {
  switch (order.way) {
    case 'down':
      socket.resume();
      void pour(socket, order.bytes, SUPPLIES[order.kind]).then(
        () => socket.end(),
        () => socket.destroy(),
      );
      return;
    case 'up': {
      let left = order.bytes - rest.length;
      socket.on('data', (chunk: Buffer) => {
        left -= chunk.length;
        if (left <= 0) socket.end('.');
      });
      return;
    }
    case 'echo':
      socket.on('data', (chunk: Buffer) => socket.write(chunk));
  }
}

const unix = createServer({ allowHalfOpen: true }, serve);
await new Promise<void>((resolve) => unix.listen(options.path, resolve));
let tlsPort = 0;
if (options.tls !== undefined) {
  const { certPem: cert, keyPem: key } = options.tls;
  const tls = createTlsServer({ cert, key, allowHalfOpen: true, noDelay: true }, serve);
  tls.on('tlsClientError', () => undefined); // the client reports the error
  await new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve));
  tlsPort = (tls.address() as AddressInfo).port;
}
const ready: BulkServerReady = { tlsPort };
process.stdout.write(`${JSON.stringify(ready)}\n`);
