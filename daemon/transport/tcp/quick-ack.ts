// Acknowledges received bytes at once. A gateway that has not set TCP_NODELAY holds a second small answer back until the first one is acknowledged
// (RFC 896), and the kernel delays that by up to 40 ms while nothing is sent (RFC 1122, 4.2.3.2).
import type { Socket } from 'node:net';
import { cLibrary } from '../../base/c-library.ts';
import { descriptorOf } from '../../base/node-internals.ts';

const SETSOCKOPT = 'int setsockopt(int fd, int level, int name, const int *value, uint32_t length)';
/** The numbers of tcp(7) on Linux. */
const [IPPROTO_TCP, TCP_QUICKACK, INT_BYTES] = [6, 12, 4];

let loaded: ((descriptor: number) => void) | undefined;

/** What is already received on the TCP connection of `socket` is acknowledged now. Does nothing where the system has no such option. */
export function acknowledgeNow(socket: Socket): void {
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined) return;
  loaded ??= load();
  loaded(descriptor);
}

function load(): (descriptor: number) => void {
  try {
    if (process.platform !== 'linux') return () => undefined;
    const setsockopt = cLibrary().func(SETSOCKOPT);
    return (descriptor) => void setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, [1], INT_BYTES);
  } catch {
    // Without the package answers are as slow as the kernel makes them.
    return () => undefined;
  }
}
