// The real round trip of a simulated path: one byte and its echo. Late timers and wake-ups make it longer than the configured delay.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { startDelayProxy } from '../../test/embedded/delay-proxy.ts';
import { timed } from '../measure.ts';

/** ms for one echo. */
const ECHO_MS = 5000;
/** First byte of a datagram that the far half of the bridge sends back itself; QUIC's first byte is never 0 (RFC 9000 §17). */
export const ECHO = 0;

export interface Path {
  /** ms from one byte to its echo. */
  echo(): Promise<number>;
  stop(): Promise<void>;
}

/** A TCP connection over a proxy like the one before the gateway, and an echo behind it. */
export async function startTcpPath(roundTripMs: number): Promise<Path> {
  const server = createServer((socket) => socket.on('error', () => socket.destroy()).pipe(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await startDelayProxy({
    to: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    roundTripMs,
  });
  const socket = connect({ host: proxy.host, port: proxy.port, noDelay: true });
  await once(socket, 'connect');
  return {
    echo: () =>
      timed(() => {
        const back = once(socket, 'data', { signal: AbortSignal.timeout(ECHO_MS) });
        socket.write(Uint8Array.of(ECHO));
        return back;
      }),
    stop: async () => {
      socket.destroy();
      await proxy.stop();
      server.close();
    },
  };
}

/** The bridge into the namespace, whose near half listens on `port`. */
export function udpPath(port: number): Path {
  const socket = createSocket('udp4');
  return {
    echo: () =>
      timed(() => {
        const back = once(socket, 'message', { signal: AbortSignal.timeout(ECHO_MS) });
        socket.send(Uint8Array.of(ECHO), port, '127.0.0.1');
        return back;
      }),
    stop: () => new Promise((resolve) => socket.close(resolve)),
  };
}
