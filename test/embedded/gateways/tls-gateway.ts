// A TLS gateway like `bmux server gateway`: TLS 1.2 and 1.3, no ALPN, one connection to the server's socket per TLS connection. By default a
// client that ends without close_notify leaves its server connection open, as in the real one, so that tests notice.
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import { compressed } from '../../../daemon/compression/stream.ts';
import { selfSigned, type Certificate } from '../certificate.ts';
import { gatewayCopy, type GatewayCopy } from './gateway-copy.ts';
import { TcpWire } from './tcp-wire.ts';

export interface TlsGatewayOptions {
  readonly socketPath: string;
  /** Default: a free port on 127.0.0.1. */
  readonly listen?: { readonly host: string; readonly port: number };
  readonly compression: 'zstd' | 'none';
  /** Default: a new one for localhost, 127.0.0.1 and ::1. */
  readonly certificate?: Certificate;
  /** Ends the server connection of a client that ends without close_notify, unlike real gateways. Default false. */
  readonly forgiving?: boolean;
}

export interface TlsGateway {
  readonly host: string;
  readonly port: number;
  readonly certificate: Certificate;
  /** Streams with an open server connection, including lost ones. */
  streams(): number;
  /** Number of successful handshakes, and of those connections that ended without close_notify. */
  stats(): { readonly accepted: number; readonly truncated: number; readonly resumed: number };
  /** Applies to new streams: a real gateway reads its config again for every stream. */
  setCompression(mode: 'zstd' | 'none'): void;
  stop(): Promise<void>;
}

/** Starts the gateway; it listens when the promise resolves. */
export async function startTlsGateway(options: TlsGatewayOptions): Promise<TlsGateway> {
  const certificate = options.certificate ?? selfSigned();
  const { host, port } = options.listen ?? { host: '127.0.0.1', port: 0 };
  let compression = options.compression;
  const copies = new Set<GatewayCopy>();
  const sockets = new Set<Socket>();
  const stats = { accepted: 0, truncated: 0, resumed: 0 };

  const secureContext = createSecureContext({
    cert: certificate.certPem,
    key: certificate.keyPem,
    minVersion: 'TLSv1.2',
  });

  const serve = (wire: TcpWire, socket: TLSSocket): void => {
    stats.accepted += 1;
    if (socket.isSessionReused()) stats.resumed += 1;
    const remote: Duplex = compression === 'zstd' ? compressed(socket) : socket;
    const copy = gatewayCopy({
      remote,
      socketPath: options.socketPath,
      drop: () => {
        remote.destroy();
        wire.hangUp();
      },
      forgiving: options.forgiving ?? false,
      resetEnds: false,
    });
    if (remote !== socket) socket.on('error', () => copy.truncated());
    wire.watch(socket, () => {
      stats.truncated += 1;
      copy.truncated();
    });
    copies.add(copy);
    void copy.done.then(() => copies.delete(copy));
  };

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (tcp) => {
    sockets.add(tcp);
    tcp.on('close', () => sockets.delete(tcp));
    const wire = new TcpWire(tcp);
    const socket = new TLSSocket(wire, { isServer: true, secureContext });
    const refuse = (): void => wire.hangUp();
    socket.on('error', refuse);
    socket.once('secure', () => {
      socket.off('error', refuse);
      serve(wire, socket);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  });
  const address = server.address() as AddressInfo;
  return {
    host: address.address,
    port: address.port,
    certificate,
    streams: () => copies.size,
    stats: () => ({ ...stats }),
    setCompression: (mode) => (compression = mode),
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const copy of copies) copy.destroy();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
