// Options of a TCP connection that Node cannot set. Linux only.
import type { Socket } from 'node:net';
import { cLibrary } from '../../base/c-library.ts';
import { descriptorOf } from '../../base/node-internals.ts';

type SetOption = (descriptor: number, name: number, value: number) => void;

const SETSOCKOPT = 'int setsockopt(int fd, int level, int name, const int *value, uint32_t length)';
/** The numbers of linux/tcp.h. */
const [IPPROTO_TCP, TCP_QUICKACK, TCP_RTO_MAX_MS, INT_BYTES] = [6, 12, 44, 4];
/** ms between two questions at most. The kernel takes no less. */
const ASKED_OFTEN_MS = 1000;
/** What the kernel begins with. */
const USUAL_MS = 120_000;

let loaded: SetOption | undefined;

/**
 * What is already received on the TCP connection of `socket` is acknowledged now. A gateway that has not set TCP_NODELAY holds a second small
 * answer back until the first one is acknowledged (RFC 896), and the kernel delays that by up to 40 ms while nothing is sent (RFC 1122, 4.2.3.2).
 */
export function acknowledgeNow(socket: Socket): void {
  set(socket, TCP_QUICKACK, 1);
}

/**
 * Whether a peer with a full window is asked every second for room. The kernel doubles the pauses otherwise, up to 2 min. The option limits the
 * pauses before data is sent again, too: a long way needs these. Does nothing before Linux 6.15.
 */
export function askOften(socket: Socket, isOften: boolean): void {
  set(socket, TCP_RTO_MAX_MS, isOften ? ASKED_OFTEN_MS : USUAL_MS);
}

/** Does nothing where the system has no such option. */
function set(socket: Socket, name: number, value: number): void {
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined) return;
  loaded ??= load();
  loaded(descriptor, name, value);
}

function load(): SetOption {
  try {
    if (process.platform !== 'linux') return () => undefined;
    const setsockopt = cLibrary().func(SETSOCKOPT);
    return (descriptor, name, value) => void setsockopt(descriptor, IPPROTO_TCP, name, [value], INT_BYTES);
  } catch {
    // Without the package answers are as slow, and questions as rare, as the kernel makes them.
    return () => undefined;
  }
}
