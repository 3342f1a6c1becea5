// The buffers that sockets are read into. Node makes a new one of 64 KiB for every read; a stream that moves bulk spends a third of its
// time on their memory (measured: bench, `TLS bulk up`), and what waits for garbage collection is the most of what a busy engine holds.
import { connect, Socket, type NetConnectOpts, type OnReadOpts } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';

/** What libuv reads at once, bytes. */
const BLOCK_BYTES = 64 * 1024;
/** Plaintext of a full TLS record, bytes (RFC 8446 §5.1): no read brings more. */
const RECORD_BYTES = 16 * 1024;
/** A shorter read says that the bulk is over. */
const SMALL_BYTES = 2 * 1024;
/** Blocks that wait for their next use, all streams together: 1 MiB. */
const FREE_MAX = 16;

/** Where every socket is read into that moves little: one for all, since a read is copied out before the next one begins. */
const SHARED = Buffer.allocUnsafeSlow(BLOCK_BYTES);

/** One after the other the reads of one socket, until it is full. */
interface Block {
  readonly bytes: Buffer;
  /** Chunks of it that have not been given back. */
  lent: number;
  /** Nothing is read into it any more. */
  full: boolean;
}

const free: Block[] = [];
const blocks = new WeakMap<ArrayBufferLike, Block>();

function takeBlock(): Block {
  const known = free.pop();
  if (known !== undefined) {
    known.full = false;
    return known;
  }
  const block: Block = { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), lent: 0, full: false };
  blocks.set(block.bytes.buffer, block);
  return block;
}

function reuse(block: Block): void {
  if (block.full && block.lent === 0 && free.length < FREE_MAX) free.push(block);
}

/**
 * Gives the memory of `chunk` back for other reads, if it came from here. Only for who is its last reader, and once: a stream's write
 * callback says so for what was written. A chunk that nobody gives back is garbage as any other.
 */
export function giveBack(chunk: Uint8Array): void {
  const block = blocks.get(chunk.buffer);
  if (block === undefined) return;
  block.lent -= 1;
  reuse(block);
}

/**
 * For whoever goes on after an exception that nobody caught: Node does not hear from a read in whose turn one was thrown where the next is
 * to go, and would read over what is lent out.
 */
export function afterThrow(): void {
  Reading.last?.reset();
}

/** What Node has under a socket; of no public type. */
export interface Handle {
  readStart?: () => void;
  readStop?: () => void;
  reading?: boolean;
  useUserBuffer?: (buffer: Buffer) => void;
}

/** The libuv handle under `socket`; undefined when it is closed. */
export function handleOf(socket: Socket): Handle | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  return typeof handle === 'object' && handle !== null ? handle : undefined;
}

/** How one socket is read: `onread` for its options. Its 'data' is that of any socket. */
class Reading implements OnReadOpts {
  /** The one whose callback ran last. */
  static last: Reading | undefined;
  socket: Socket | undefined;
  readonly #room: number;
  #block: Block | undefined;
  #at = 0;

  /** `room`: the most that one read brings, bytes. */
  constructor(room: number) {
    this.#room = room;
  }

  readonly buffer = (): Buffer => this.#block?.bytes.subarray(this.#at) ?? SHARED;

  readonly callback = (bytes: number): boolean => {
    Reading.last = this;
    return this.socket?.push(this.#chunk(bytes)) ?? false;
  };

  /** Begins anew, whatever the handle believes. The memory that it may still read into is nobody's any more. */
  reset(): void {
    this.#block = undefined;
    this.#at = 0;
    if (this.socket !== undefined) handleOf(this.socket)?.useUserBuffer?.(SHARED);
  }

  /** A read that takes half of its room is lent out, so that what waits somewhere holds about its own length; another one is copied. */
  #chunk(bytes: number): Buffer {
    const block = this.#block;
    const at = this.#at;
    const lends = bytes >= this.#room / 2;
    if (block === undefined || !lends) {
      const chunk = Buffer.from((block?.bytes ?? SHARED).subarray(at, at + bytes));
      if (block === undefined && lends) this.#begin(takeBlock());
      else if (block !== undefined && bytes < SMALL_BYTES) this.#begin(undefined);
      return chunk;
    }
    block.lent += 1;
    this.#at += bytes;
    if (this.#at + this.#room > BLOCK_BYTES) this.#begin(takeBlock());
    return block.bytes.subarray(at, at + bytes);
  }

  #begin(block: Block | undefined): void {
    if (this.#block !== undefined) {
      this.#block.full = true;
      reuse(this.#block);
    }
    this.#block = block;
    this.#at = 0;
  }
}

/** `net.connect`, reading so. */
export function connectReading(options: NetConnectOpts): Socket {
  const reading = new Reading(BLOCK_BYTES);
  const socket = connect({ ...options, onread: reading });
  reading.socket = socket;
  return socket;
}

/** `tls.connect`, reading so; `options` must not name a socket. */
export function connectTlsReading(options: ConnectionOptions): TLSSocket {
  const reading = new Reading(RECORD_BYTES);
  const onread = { onread: reading };
  const socket = connectTls({ ...options, ...onread });
  reading.socket = socket;
  return socket;
}

/** A socket of a handle that no other socket reads. It does not read yet. */
export function socketReading(handle: object): Socket {
  const reading = new Reading(BLOCK_BYTES);
  // `handle` and `manualStart` are what Node's own servers make their sockets with.
  const options = { handle, manualStart: true, allowHalfOpen: true, onread: reading };
  const socket = new Socket(options);
  reading.socket = socket;
  return socket;
}
