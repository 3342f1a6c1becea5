// Asks whether a program still listens at a UDP address. A system answers a datagram to a port without a program with ICMP.
import { createSocket } from 'node:dgram';
import { isIP, isIPv6 } from 'node:net';
import { errnoOf } from '../../base/failure.ts';

/** A datagram that is no QUIC packet (RFC 9000 §17: the fixed bit is 0), so that an endpoint ignores it. */
const PROBE = Buffer.of(0);

/**
 * True when the system at `address` (`IP:PORT`) says within `ms` that nobody listens there. False for silence: a program that is stopped, a
 * firewall and a broken network look the same. Never rejects.
 */
export function isRefused(address: string, ms: number): Promise<boolean> {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  const port = Number(address.slice(at + 1));
  if (isIP(host) === 0 || !Number.isInteger(port) || port < 1 || port > 65_535) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    let isOver = false;
    const over = (refused: boolean): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      socket.close();
      resolve(refused);
    };
    const timer = setTimeout(over, ms, false);
    socket.on('error', (error) => {
      over(errnoOf(error) === 'ECONNREFUSED');
    });
    // An answer of any kind shows that somebody listens.
    socket.once('message', () => {
      over(false);
    });
    socket.connect(port, host, () => {
      if (!isOver) socket.send(PROBE);
    });
  });
}
