// Asks the kernel who is at the other end of an accepted Unix socket, and whether it is still there. Node has no functions for that.
import type { Socket } from 'node:net';
import { cLibrary, type CLibrary } from '../base/c-library.ts';
import { textOf, type Failure } from '../base/failure.ts';
import { descriptorOf, handleOf, type Handle } from '../base/node-internals.ts';
import { fail } from '../errors/fail.ts';

/** The process that has connected. */
export interface Peer {
  readonly uid: number;
  readonly pid?: number;
}

/** Returns undefined when the kernel does not tell, as macOS for a peer that has closed already. */
type Ask = (descriptor: number) => Peer | undefined;

/** For each descriptor: true when the peer has closed the connection, not only its own side of it. */
type AskClosed = (descriptors: readonly number[]) => readonly boolean[];

/** Signatures as koffi takes them. */
const GETSOCKOPT =
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)';
const POLL = 'int poll(_Inout_ uint8_t *fds, unsigned long count, int timeout)';
const GETPEEREID = 'int getpeereid(int fd, _Out_ uint32_t *uid, _Out_ uint32_t *gid)';

/** A failure is remembered. */
let loaded: { readonly ask: Ask; readonly areClosed: AskClosed } | { readonly problem: Failure } | undefined;

/** Loads the library, which takes about 10 ms. The first accept would wait for that. */
export function loadPeerCheck(): void {
  loaded ??= load();
}

/** Why connections are accepted without asking who has connected; undefined while they are not. For the status. */
export const peerCheck = {
  get problem(): Failure | undefined {
    loaded ??= load();
    return 'problem' in loaded ? loaded.problem : undefined;
  },
};

/** The peers that are known. The kernel keeps the ids of the connect, so one question is enough for a connection, which has one handle. */
const known = new WeakMap<Handle, Peer>();

/** Who has connected. `unchecked` when this system has no library for the question; `unknown` when the kernel does not tell. */
export function peerOf(socket: Socket): Peer | 'unchecked' | 'unknown' {
  loaded ??= load();
  if ('problem' in loaded) return 'unchecked';
  const handle = handleOf(socket);
  if (handle === undefined) return 'unknown';
  const before = known.get(handle);
  if (before !== undefined) return before;
  const descriptor = descriptorOf(socket);
  const peer = descriptor === undefined ? undefined : loaded.ask(descriptor);
  if (peer !== undefined) known.set(handle, peer);
  return peer ?? 'unknown';
}

/** The pid of the client, as the rows of a status have it; empty when the kernel does not tell. */
export function clientPidOf(socket: Socket): { readonly clientPid?: number } {
  const peer = peerOf(socket);
  return typeof peer === 'string' || peer.pid === undefined ? {} : { clientPid: peer.pid };
}

/**
 * Those whose client has closed the connection, found in one system call. Not those whose client has ended its own side alone. None where
 * this system cannot be asked.
 */
export function closedByPeers(sockets: readonly Socket[]): Socket[] {
  loaded ??= load();
  if (!('ask' in loaded) || sockets.length === 0) return [];
  // poll(2) ignores a negative descriptor.
  const closed = loaded.areClosed(sockets.map((socket) => descriptorOf(socket) ?? -1));
  return sockets.filter((_, at) => closed[at]);
}

function load(): NonNullable<typeof loaded> {
  try {
    const library = cLibrary();
    const ask = process.platform === 'darwin' ? onMac(library) : onLinux(library);
    return { ask, areClosed: polled(library) };
  } catch (error) {
    return { problem: fail('peers_unchecked', { why: textOf(error) }, error) };
  }
}

/** SO_PEERCRED of socket(7): the ids of the process at the time of its connect. */
function onLinux(library: CLibrary): Ask {
  // On other architectures the numbers are different ones.
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch))
    throw new Error(`not known for ${process.platform} on ${process.arch}`);
  const getsockopt = library.func(GETSOCKOPT);
  const [SOL_SOCKET, SO_PEERCRED, UCRED_BYTES] = [1, 17, 12];
  // Each call fills it before it is read, and no call waits.
  const ucred = Buffer.alloc(UCRED_BYTES);
  return (descriptor) => {
    const failed = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, ucred, [UCRED_BYTES]) !== 0;
    return failed ? undefined : { pid: ucred.readInt32LE(0), uid: ucred.readUInt32LE(4) };
  };
}

/** getpeereid(3), and LOCAL_PEERPID of sys/un.h. */
function onMac(library: CLibrary): Ask {
  const getpeereid = library.func(GETPEEREID);
  const getsockopt = library.func(GETSOCKOPT);
  const [SOL_LOCAL, LOCAL_PEERPID, PID_BYTES] = [0, 2, 4];
  return (descriptor) => {
    const uid = [0];
    if (getpeereid(descriptor, uid, [0]) !== 0 || uid[0] === undefined) return undefined;
    const pid = Buffer.alloc(PID_BYTES);
    const failed = getsockopt(descriptor, SOL_LOCAL, LOCAL_PEERPID, pid, [PID_BYTES]) !== 0;
    return { uid: uid[0], ...(failed ? {} : { pid: pid.readInt32LE(0) }) };
  };
}

/** poll(2). POLLHUP of a socket that is asked for writing says that nothing can be written any more. */
function polled(library: CLibrary): AskClosed {
  const poll = library.func(POLL);
  const [POLLOUT, POLLHUP, POLLFD_BYTES] = [4, 16, 8];
  return (descriptors) => {
    const pollfds = Buffer.alloc(POLLFD_BYTES * descriptors.length);
    for (const [at, descriptor] of descriptors.entries()) {
      pollfds.writeInt32LE(descriptor, POLLFD_BYTES * at);
      pollfds.writeInt16LE(POLLOUT, POLLFD_BYTES * at + 4);
    }
    poll(pollfds, descriptors.length, 0);
    return descriptors.map((_, at) => (pollfds.readInt16LE(POLLFD_BYTES * at + 6) & POLLHUP) !== 0);
  };
}
