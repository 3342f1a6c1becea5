// One half of the bridge into a network namespace: UDP on this side, a Unix socket to the other half. Each datagram is delayed by half a round
// trip before it goes to the Unix socket, so that a round trip over both halves takes a whole one. argv[2]: UdpRelayOptions.
import { createSocket, type Socket as Udp } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';
import { ECHO } from '../rig/path.ts';

/** Clients send to `outer`; `inner` sends to the address `to`, from one port per client. */
export type UdpRelayOptions = { readonly path: string; readonly holdMs: number } & (
  | { readonly side: 'outer' }
  | { readonly side: 'inner'; readonly to: { readonly host: string; readonly port: number } }
);

export interface UdpRelayReady {
  /** Of `outer`: the port on 127.0.0.1 for clients. */
  readonly port: number;
}

/** Most datagrams that are delayed at once; more are dropped, as a router does. */
const HELD_MAX = 8192;
const CLIENTS_MAX = 1024;
/** Bytes of the header of each datagram on the Unix socket: u16 client, u16 length. */
const HEADER = 4;

const options = JSON.parse(process.argv[2] ?? '{}') as UdpRelayOptions;

/** Cuts the Unix stream into datagrams. */
function datagrams(link: Socket, onDatagram: (client: number, bytes: Buffer) => void): void {
  let held: Buffer = Buffer.alloc(0);
  link.on('data', (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    let at = 0;
    while (held.length - at >= HEADER) {
      const length = held.readUInt16LE(at + 2);
      if (held.length - at < HEADER + length) break;
      onDatagram(held.readUInt16LE(at), held.subarray(at + HEADER, at + HEADER + length));
      at += HEADER + length;
    }
    held = held.subarray(at);
  });
}

/** Writes each datagram to the Unix socket after the delay. One timer serves all of them, so they keep their order. */
function holder(link: Socket): (client: number, bytes: Buffer) => void {
  const queue: { readonly at: number; readonly frame: Buffer }[] = [];
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    timer = undefined;
    const now = performance.now() + 0.5; // a timer may fire a fraction of a millisecond early
    for (let first = queue[0]; first !== undefined && first.at <= now; first = queue[0]) {
      queue.shift();
      link.write(first.frame);
    }
    arm();
  };
  const arm = (): void => {
    const first = queue[0];
    if (first !== undefined) timer ??= setTimeout(flush, Math.max(0, first.at - performance.now()));
  };
  return (client, bytes) => {
    if (queue.length >= HELD_MAX) return;
    const frame = Buffer.allocUnsafe(HEADER + bytes.length);
    frame.writeUInt16LE(client, 0);
    frame.writeUInt16LE(bytes.length, 2);
    bytes.copy(frame, HEADER);
    queue.push({ at: performance.now() + options.holdMs, frame });
    arm();
  };
}

const say = (ready: UdpRelayReady): void => {
  process.stdout.write(`${JSON.stringify(ready)}\n`);
};

function outer(): void {
  const udp = createSocket('udp4');
  const clients: { readonly port: number; readonly address: string }[] = [];
  const server = createServer((link) => {
    const hold = holder(link);
    datagrams(link, (client, bytes) => {
      const to = clients[client];
      if (to !== undefined) udp.send(bytes, to.port, to.address);
    });
    udp.on('message', (bytes, { port, address }) => {
      let client = clients.findIndex((row) => row.port === port && row.address === address);
      if (client < 0) client = clients.length < CLIENTS_MAX ? clients.push({ port, address }) - 1 : 0;
      hold(client, bytes);
    });
    link.on('close', () => process.exit(0));
  });
  server.listen(options.path, () => {
    udp.bind(0, '127.0.0.1', () => {
      say({ port: udp.address().port });
    });
  });
}

function inner(to: { readonly host: string; readonly port: number }): void {
  const link = connect(options.path);
  const hold = holder(link);
  const sockets = new Map<number, Udp>();
  datagrams(link, (client, bytes) => {
    if (bytes[0] === ECHO) {
      hold(client, bytes);
      return;
    }
    let udp = sockets.get(client);
    if (udp === undefined) {
      udp = createSocket('udp4');
      udp.on('message', (answer) => {
        hold(client, answer);
      });
      udp.on('error', () => undefined); // no process listens: the datagram is lost, as on a network
      sockets.set(client, udp);
    }
    udp.send(bytes, to.port, to.host);
  });
  link.on('error', () => process.exit(1));
  link.on('close', () => process.exit(0));
  link.on('connect', () => {
    say({ port: 0 });
  });
}

if (options.side === 'outer') outer();
else inner(options.to);
