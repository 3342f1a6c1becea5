// Reads sockets into reused buffers. By default Node allocates 64 KiB for every read. A bulk stream spends a third of its time on that memory
// (measured: bench, `TLS bulk up`), and most memory of a busy engine waits for garbage collection.
import { connect, type NetConnectOpts, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { BLOCK_BYTES, reuse, takeBlock, type Block } from '../base/streams/blocks.ts';
import { endLater, readInto, socketOf, type Handle } from '../base/node-internals.ts';

/** Plaintext of a full TLS record, bytes (RFC 8446 §5.1): the most that one read returns. */
const RECORD_BYTES = 16 * 1024;
/** A shorter read means that the bulk transfer is over, bytes. */
const SMALL_BYTES = 2 * 1024;
/** Shared read buffer of all sockets with little data: each read is copied out before the next one begins. */
const SHARED = Buffer.allocUnsafeSlow(BLOCK_BYTES);

/**
 * Call this after an uncaught exception. When one was thrown during a read, Node does not learn where the next read goes. It would overwrite
 * memory that is still in use.
 */
export function afterThrow(): void {
  Reading.last?.reset();
}

/** The `onread` option of one socket. The socket emits 'data' as usual. */
class Reading implements OnReadOpts {
  /** The instance whose callback ran last. */
  static last: Reading | undefined;
  socket: Socket | undefined;
  readonly #room: number;
  #block: Block | undefined;
  #at = 0;

  /** `room`: most bytes that one read returns. */
  constructor(room: number) {
    this.#room = room;
  }

  readonly buffer = (): Buffer => this.#block?.bytes.subarray(this.#at) ?? SHARED;

  readonly callback = (bytes: number): boolean => {
    Reading.last = this;
    return this.socket?.push(this.#chunk(bytes)) ?? false;
  };

  /** Starts with the shared buffer again, whatever the handle uses. Memory that the handle may still read into is not reused. */
  reset(): void {
    this.#block = undefined;
    this.#at = 0;
    if (this.socket !== undefined) readInto(this.socket, SHARED);
  }

  /**
   * Returns the chunk of a read. A read of at least half the room keeps its part of the block, so a waiting chunk holds about its own length.
   * A shorter one is copied.
   */
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

/** `net.connect` with reused read buffers. */
export function connectReading(options: NetConnectOpts): Socket {
  const reading = new Reading(BLOCK_BYTES);
  const socket = connect({ ...options, onread: reading });
  reading.socket = socket;
  return socket;
}

/** `tls.connect` with reused read buffers; `options` must not contain a socket. */
export function connectTlsReading(options: ConnectionOptions): TLSSocket {
  const reading = new Reading(RECORD_BYTES);
  const onread = { onread: reading };
  const socket = connectTls({ ...options, ...onread });
  reading.socket = socket;
  endLater(socket);
  return socket;
}

/** Makes a socket for a handle that no other socket reads. It does not start reading. */
export function socketReading(handle: Handle): Socket {
  const reading = new Reading(BLOCK_BYTES);
  const socket = socketOf(handle, reading);
  reading.socket = socket;
  return socket;
}
