// All uses of undocumented properties of Node. A release of Node may change them, so `checkNodeInternals` tests for them at the start of
// each process and names the missing ones. This file imports only modules that the shim needs in any case.
import { closeSync, constants as files, fstatSync, openSync } from 'node:fs';
import net, { Socket, type OnReadOpts, type Server } from 'node:net';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import type { SecureContext, TLSSocket } from 'node:tls';

/** The libuv handle under a socket. */
export interface Handle {
  readStart?: () => void;
  readStop?: () => void;
  reading?: boolean;
  useUserBuffer?: (buffer: Buffer) => void;
  readonly fd?: number;
}

/** The handle under `socket`; undefined when it is closed. */
export function handleOf(socket: Socket): Handle | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  return isHandle(handle) ? handle : undefined;
}

/** The file descriptor of `socket`; undefined when it is closed. */
export function descriptorOf(socket: Socket): number | undefined {
  const descriptor = handleOf(socket)?.fd;
  return descriptor === undefined || descriptor < 0 ? undefined : descriptor;
}

/** Whether a value that came from another process or from a server of Node is such a handle. */
export function isHandle(value: unknown): value is Handle {
  return typeof value === 'object' && value !== null && 'readStart' in value;
}

/** Removes the handle from `socket` and returns it. The socket is destroyed; the connection stays open. */
export function takeHandle(socket: Socket): Handle | undefined {
  const handle = handleOf(socket);
  if (handle === undefined) return undefined;
  Reflect.set(socket, '_handle', null);
  socket.destroy();
  return handle;
}

/** Makes a socket of a handle that no other socket uses. It does not read yet, and half-close works. */
export function socketOf(handle: Handle, onread?: OnReadOpts): Socket {
  // Servers of Node make their sockets with the undocumented options `handle` and `manualStart`.
  const options = { handle, manualStart: true, allowHalfOpen: true, onread };
  return new Socket(options);
}

/** Stops reading from the kernel at once; `pause` stops at the next turn of the event loop. */
export function stopHandle(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle?.readStop === undefined) return;
  handle.readStop();
  handle.reading = false;
}

/** Reads once more after an end; false when that is not possible. */
export function readAgain(socket: Socket): boolean {
  const result: unknown = handleOf(socket)?.readStart?.();
  return result === 0;
}

/** Undoes `stopHandle`. `resume` alone would not start the handle, because the stream does not know that the handle was stopped. */
export function startHandle(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle?.readStart === undefined || handle.reading !== false) return;
  handle.reading = true;
  handle.readStart();
}

/** Sets the buffer for the next read of a socket with `onread`. */
export function readInto(socket: Socket, buffer: Buffer): void {
  handleOf(socket)?.useUserBuffer?.(buffer);
}

/**
 * Whether the TLS peer has sent close_notify. Call it when Node reports the end, in the same turn: Node reports a bare FIN in the same way. At a
 * close_notify the TCP handle below still reads, or the reader has stopped it. A FIN ends its reading, so that it can be started again.
 */
export function sawCloseNotify(socket: Socket): boolean {
  const handle = handleOf(socket);
  const below: unknown = handle === undefined ? undefined : Reflect.get(handle, '_parent');
  if (handle === undefined || !isHandle(below)) return false;
  if (handle.reading === false) return true;
  const result: unknown = below.readStart?.();
  if (result === ALREADY_READING) return true;
  below.readStop?.();
  return false;
}

/** Result of `readStart` of a handle that reads already. */
const ALREADY_READING = -constants.errno.EALREADY;

/**
 * Gives `server` a handle that does not listen: bound to `path`, or a bound socket that was passed as `fd`. The cluster module has used the
 * same function for this since Node 0.12.
 */
export function bindHandle(server: Server, to: { readonly path: string } | { readonly fd: number }): void {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  if (typeof create !== 'function') throw new Error('this version of Node cannot bind without listening');
  const [args, what] =
    'path' in to ? [[to.path, -1, -1], to.path] : [[null, 0, -1, to.fd], `descriptor ${String(to.fd)}`];
  const handle: unknown = Reflect.apply(create, undefined, args);
  if (typeof handle !== 'object' || handle === null)
    throw Object.assign(new Error(`cannot bind ${what} (errno ${String(handle)})`), { errno: handle });
  Reflect.set(server, '_handle', handle);
}

/** Adds a certificate (PEM) to those that `context` trusts. `tls.createSecureContext` would add all of them in one turn of the event loop. */
export function addCertificate(context: SecureContext, pem: string): void {
  const add = adderOf(context);
  if (add === undefined) throw new Error('this version of Node cannot add a certificate to a context');
  add(pem);
}

/**
 * Makes Node's own store of roots, which bmuxd does not use, while it has none. Else Node makes it at the first `addCertificate` of a
 * process, from its own 144 roots: 40 ms in which no stream moves. Does nothing where the process has not got `--use-openssl-ca`. `env`:
 * `process.env` itself. A variable is changed in it meanwhile, so this is called before there are other threads.
 */
export function makeRootStore(env: NodeJS.ProcessEnv): void {
  if (!process.execArgv.includes('--use-openssl-ca')) return;
  const file = env['SSL_CERT_FILE'];
  env['SSL_CERT_FILE'] = '';
  try {
    process.getBuiltinModule('node:tls').createSecureContext();
  } finally {
    if (file === undefined) delete env['SSL_CERT_FILE'];
    else env['SSL_CERT_FILE'] = file;
  }
}

function adderOf(context: SecureContext): ((pem: string) => unknown) | undefined {
  const native: unknown = Reflect.get(context, 'context');
  const add: unknown = isObject(native) ? Reflect.get(native, 'addCACert') : undefined;
  return typeof add === 'function' ? (pem): unknown => Reflect.apply(add, native, [pem]) : undefined;
}

/** What newer versions of Node add to the text of OpenSSL. That option is not for bmuxd, which has roots of its own. */
const ADVICE_OF_NODE = /;[^;]*--use-system-ca\b/;

/** Why OpenSSL did not verify the certificate of the peer; undefined when it did. `authorizationError` has no text of it. */
export function verifyErrorOf(socket: TLSSocket): Error | undefined {
  const handle: unknown = handleOf(socket);
  const verify: unknown = isObject(handle) ? Reflect.get(handle, 'verifyError') : undefined;
  const error: unknown = typeof verify === 'function' ? Reflect.apply(verify, handle, []) : undefined;
  if (error instanceof Error) {
    error.message = error.message.replace(ADVICE_OF_NODE, '');
    return error;
  }
  return socket.authorized ? undefined : new Error(String(socket.authorizationError));
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/**
 * Sets how many connections the kernel queues for `server`, which listens. A server that came from another process listens with Node's default
 * of 511, and has no option for it. The kernel takes the number of the last call.
 */
export function setBacklog(server: Server, backlog: number): void {
  const handle: unknown = Reflect.get(server, '_handle');
  const listen: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'listen') : null;
  if (typeof listen === 'function') Reflect.apply(listen, handle, [backlog]);
}

export type Done = (error?: Error | null) => void;

/** Replaces a write or the end of a stream. `pass` does the original operation and calls its `done` with the result. */
export type WriteFilter = (pass: (done: Done) => void, done: Done) => void;

/** Puts `filter` before the writes of an existing stream. It overrides `_write`, `_writev` and `_final` on the object. */
export function filterWrites(stream: Duplex, filter: WriteFilter): void {
  const write = stream._write.bind(stream);
  const writev = stream._writev?.bind(stream);
  const final = stream._final.bind(stream);
  stream._write = (chunk, encoding, done) => {
    filter((passed) => {
      write(chunk, encoding, passed);
    }, done);
  };
  if (writev !== undefined) {
    stream._writev = (chunks, done) => {
      filter((passed) => {
        writev(chunks, passed);
      }, done);
    };
  }
  stream._final = (done) => {
    filter((passed) => {
      final(passed);
    }, done);
  };
}

/**
 * Makes `stream` end in a later turn of the event loop. A TLS socket that ends in its own 'data' event stops decrypting, and the ciphertext
 * that its peer goes on sending is kept without a bound (Node 20, measured: 2 GB).
 */
export function endLater(stream: Duplex): void {
  const final = stream._final.bind(stream);
  stream._final = (done) => {
    setImmediate(() => {
      final(done);
    });
  };
}

/** Names of the needed properties that this version of Node lacks. Loads `node:tls`, which takes most of its time. */
export function missingInternals(): string[] {
  const missing: string[] = [];
  const need = (there: boolean, what: string): void => {
    if (!there) missing.push(what);
  };
  need(typeof Reflect.get(net, '_createServerHandle') === 'function', 'net._createServerHandle');
  const { prototype } = Socket;
  for (const name of ['_write', '_writev', '_final'])
    need(typeof Reflect.get(prototype, name) === 'function', `net.Socket.prototype.${name}`);
  const socket = new Socket();
  try {
    // Node makes the handle at the connect. This connect cannot succeed, and the socket is destroyed before it fails.
    socket.on('error', () => undefined).connect({ path: '/dev/null/none' });
    const handle = handleOf(socket);
    need(handle !== undefined, 'net.Socket._handle');
    for (const name of ['readStart', 'readStop', 'useUserBuffer'] as const)
      need(typeof handle?.[name] === 'function', `net.Socket._handle.${name}`);
  } finally {
    socket.destroy();
  }
  // Only processes that open TLS streams call this function, so it may load the module.
  const tls = process.getBuiltinModule('node:tls');
  // Without `ca` Node would read all of its own root certificates.
  const secureContext = tls.createSecureContext({ ca: [] });
  need(adderOf(secureContext) !== undefined, 'tls.SecureContext.context.addCACert');
  const secure = new tls.TLSSocket(new Socket(), { secureContext });
  const below: unknown = Reflect.get(handleOf(secure) ?? {}, '_parent');
  need(isHandle(below), 'tls.TLSSocket._handle._parent');
  secure.destroy();
  return missing;
}

/**
 * Makes a stream of the process blocking again. Node makes a pipe non-blocking for every process that has it, and the others then fail with
 * EAGAIN when its reader is slow.
 */
export function keepBlocking(stream: object): void {
  const handle: unknown = '_handle' in stream ? stream._handle : undefined;
  if (typeof handle !== 'object' || handle === null || !('setBlocking' in handle)) return;
  if (typeof handle.setBlocking === 'function') Reflect.apply(handle.setBlocking, handle, [true]);
}

/**
 * Calls `gone` when the pipe `fd`, to which this process writes, has no reader any more; by itself only the next write would tell. It works on
 * Linux; elsewhere `gone` is never called.
 *
 * The kernel reports the error to every process that waits for an event of the pipe. libuv waits for what it reads, and takes a TCP handle for
 * readable without asking the kernel; its read fails and changes nothing. The pipe is opened again, since the handle makes it non-blocking.
 */
export function watchReader(fd: number, gone: () => void): void {
  // Node aborts on a file, of which the kernel has no events.
  const again = pipeAgain(fd);
  if (again === undefined) return;
  try {
    const handle = tcpHandle();
    const open: unknown = handle === undefined ? undefined : Reflect.get(handle, 'open');
    const isOpen = typeof open === 'function' && Reflect.apply(open, handle, [again]) === 0;
    if (handle !== undefined && isOpen) socketOf(handle).once('error', gone).unref().resume();
    else closeSync(again);
  } catch {
    // Node has changed.
  }
}

/**
 * Opens the pipe `fd` again for writing: only the new description is non-blocking. Undefined for what is no pipe, for a pipe of another user, and
 * where there is no `/proc`.
 */
export function pipeAgain(fd: number): number | undefined {
  try {
    if (!fstatSync(fd).isFIFO()) return undefined;
    return openSync(`/proc/self/fd/${String(fd)}`, files.O_WRONLY | files.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

/** A new TCP handle; undefined when Node has changed. */
function tcpHandle(): Handle | undefined {
  // Node makes the handle at the connect, which waits here for an address that never comes.
  const socket = new Socket().on('error', () => undefined);
  socket.connect({ host: 'none.invalid', port: 1, lookup: () => undefined });
  return takeHandle(socket);
}
