// Connections without a broker, as a short-lived client makes them, for comparison with the broker.
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import { compressed } from '../../daemon/compression/stream.ts';
import { IrohEndpoint } from '../../daemon/transport/iroh/endpoint.ts';
import { authenticate } from '../../daemon/transport/ssh-auth/authenticate.ts';
import type { Compression } from '../../daemon/bmux-ipc/epoch.ts';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';

/** A new connection. */
export interface Plain {
  readonly stream: Duplex;
  /** Ends resources beside the stream: the endpoint of an iroh dial. */
  stop(): Promise<void>;
}

/** ms for one dial. */
const DIAL_MS = 20_000;

const nothing = (): Promise<void> => Promise.resolve();

/** A connected Unix socket. */
export async function connectUnix(path: string): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  await once(socket, 'connect', { signal: AbortSignal.timeout(DIAL_MS) });
  return socket;
}

export async function dialLocal(path: string): Promise<Plain> {
  return { stream: await connectUnix(path), stop: nothing };
}

/** Dials TCP, then TLS with one trust anchor; compresses when the gateway does. */
export async function dialTls(to: {
  readonly port: number;
  readonly ca: string;
  readonly compression: Compression;
}): Promise<Plain> {
  const tcp = connect({ host: '127.0.0.1', port: to.port, allowHalfOpen: true, noDelay: true });
  const socket = connectTls({ socket: tcp, ca: to.ca, servername: 'localhost' });
  await once(socket, 'secureConnect', { signal: AbortSignal.timeout(DIAL_MS) });
  const stream: Duplex = to.compression === 'zstd' ? compressed(socket) : socket;
  return { stream, stop: nothing };
}

/** Dials with a new endpoint: a QUIC connection, the SSH challenge if the route needs one, and a stream. */
export async function dialIroh(route: IrohRoute, compression: Compression): Promise<Plain> {
  const dialling = { deadline: new Deadline(DIAL_MS), signal: AbortSignal.timeout(DIAL_MS) };
  const label = 'plain';
  const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
  try {
    const connection = await endpoint.connect(route, label, dialling);
    if (route.sshAuth) {
      const auth = await connection.openStream(dialling);
      await authenticate(auth, { ...dialling, agentSocket: route.agentSocket, label });
    }
    const raw = await connection.openStream(dialling);
    const stream = compression === 'zstd' ? compressed(raw) : raw;
    return { stream, stop: () => endpoint.close() };
  } catch (error) {
    await endpoint.close();
    throw error;
  }
}
