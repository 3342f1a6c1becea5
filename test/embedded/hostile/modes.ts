// What a hostile server does, as a table. No daemon may grow, stall or end because of one of these.
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import binding from 'zstd-napi/binding.js';
import { FrameReader } from '../../../daemon/bmux-ipc/frame.ts';
import {
  decodeEnvelope,
  defaultContract,
  encodeResponseFrame,
  type Response,
} from '../../../daemon/bmux-ipc/ipc.ts';
import { ByteQueue } from '../../../daemon/bmux-ipc/byte-queue.ts';
import { encodeBlock } from '../../../daemon/compression/zstd.ts';

/** The client's Hello, as far as an answer needs it. */
export interface Heard {
  readonly epoch: 3 | 4;
  /** The client compresses. */
  readonly zstd: boolean;
}

/** One accepted connection. */
export interface Peer {
  /** The stream on which bmux's protocol is spoken. */
  readonly stream: Duplex;
  /** Cuts the connection below, or the stream over iroh. */
  readonly reset: () => void;
}

export interface HostileMode {
  readonly name: string;
  /** `tcp`: acts before a TLS handshake. `stream`: on a local socket and after a TLS handshake. */
  readonly on: 'tcp' | 'stream';
  readonly act: (peer: Peer) => Promise<void> | void;
}

export const GARBAGE = randomBytes(64 * 1024);
/** Random bytes that do not begin with a valid length. */
GARBAGE.fill(0xff, 0, 8);
export const ZEROS = Buffer.alloc(64 * 1024);

function u32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, at) => bytes.writeUInt32LE(value, 4 * at));
  return bytes;
}

/** Writes `chunk` again and again, as fast as the peer takes it, until the stream is closed. */
export async function flood(stream: Duplex, chunk: Buffer): Promise<void> {
  while (!stream.destroyed && stream.writable) {
    if (stream.write(chunk)) await wait(0);
    else {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          stream.off('drain', done);
          stream.off('close', done);
          resolve();
        };
        stream.on('drain', done);
        stream.on('close', done);
      });
    }
  }
}

/** Writes the bytes one at a time. */
async function dribble(stream: Duplex, bytes: Buffer, pauseMs: number): Promise<void> {
  for (const byte of bytes) {
    if (stream.destroyed || !stream.writable) return;
    stream.write(Buffer.of(byte));
    await wait(pauseMs);
  }
}

/** zstd's magic number, in a block after its two lengths. */
const MAGIC = 0xfd2fb528;

/** Reads the client's Hello; undefined when the client leaves before. What follows it is read and dropped. */
export function hello(stream: Duplex): Promise<Heard | undefined> {
  return new Promise((resolve) => {
    const queue = new ByteQueue();
    stream.on('data', (chunk: Buffer) => {
      queue.push(chunk);
      const magic = queue.u32(8);
      if (magic === undefined) return;
      const zstd = magic === MAGIC;
      let plain = queue.take(0, queue.length);
      if (zstd) {
        const [compressedLength, length] = [plain.readUInt32LE(0), plain.readUInt32LE(4)];
        const target = Buffer.alloc(length);
        new binding.DCtx().decompress(target, plain.subarray(8, 8 + compressedLength));
        plain = target;
      }
      const reader = new FrameReader();
      reader.push(plain);
      const frame = reader.next();
      if (frame === undefined) return;
      const { version } = decodeEnvelope(frame);
      resolve({ epoch: version === 3 ? 3 : 4, zstd });
    });
    stream.once('close', () => resolve(undefined));
    stream.once('end', () => resolve(undefined));
  });
}

/** Answers the Hello with `response`, in the client's compression. */
function answer(stream: Duplex, { epoch, zstd }: Heard, response: Response): void {
  const frame = encodeResponseFrame(epoch, 1n, response);
  if (!zstd) {
    stream.write(frame);
    return;
  }
  for (let at = 0; at < frame.length; at += 65_536)
    stream.write(encodeBlock(frame.subarray(at, at + 65_536)));
}

/** Accepts the Hello as a real server does. */
export async function greet(stream: Duplex): Promise<Heard | undefined> {
  const heard = await hello(stream);
  if (heard === undefined) return undefined;
  const negotiated = { ...defaultContract(heard.epoch), wireEpoch: heard.epoch, revision: 1 };
  answer(stream, heard, {
    type: 'hello_negotiated',
    negotiated: { ...negotiated, capabilities: [...negotiated.capabilities].sort() },
  });
  return heard;
}

/** A block with `length` zeros, of a few hundred bytes. */
function bomb(length: number, claimed = length): Buffer {
  const plain = Buffer.alloc(length);
  const room = Buffer.alloc(length / 64 + 1024);
  const used = new binding.CCtx().compress(room, plain, 1);
  return Buffer.concat([u32(used, claimed), room.subarray(0, used)]);
}

const MIB = 1024 * 1024;
const BOMB = bomb(16 * MIB);
const ONE_BYTE_BLOCK = encodeBlock(Buffer.of(0));

const manyCapabilities = Array.from({ length: 200_000 }, (_, at) => `capability.${String(at)}`);

export const HOSTILE_MODES: readonly HostileMode[] = [
  { name: 'floods garbage instead of TLS', on: 'tcp', act: ({ stream }) => flood(stream, GARBAGE) },
  { name: 'is silent before TLS', on: 'tcp', act: () => undefined },
  { name: 'resets the connection at once', on: 'tcp', act: (peer) => peer.reset() },
  {
    name: 'resets in the handshake',
    on: 'tcp',
    act: (peer) => void peer.stream.once('data', () => peer.reset()),
  },
  {
    name: 'ends in the handshake',
    on: 'tcp',
    act: ({ stream }) => void stream.once('data', () => stream.end()),
  },
  { name: 'floods garbage', on: 'stream', act: ({ stream }) => flood(stream, GARBAGE) },
  { name: 'floods zeros', on: 'stream', act: ({ stream }) => flood(stream, ZEROS) },
  {
    name: 'claims a frame of 4 GiB',
    on: 'stream',
    act: ({ stream }) => {
      stream.write(u32(0xffff_ffff));
      return flood(stream, ZEROS);
    },
  },
  {
    name: 'claims the largest frame and fills it',
    on: 'stream',
    act: ({ stream }) => {
      stream.write(u32(8 * MIB));
      return flood(stream, ZEROS);
    },
  },
  {
    name: 'claims a block of 4 GiB',
    on: 'stream',
    act: ({ stream }) => {
      stream.write(u32(100, 0xffff_ffff));
      return flood(stream, ZEROS);
    },
  },
  { name: 'sends bombs instead of an answer', on: 'stream', act: ({ stream }) => flood(stream, BOMB) },
  {
    name: 'sends blocks that hold more than they claim',
    on: 'stream',
    act: async ({ stream }) => {
      await hello(stream);
      return flood(stream, bomb(4 * MIB, 65_536));
    },
  },
  {
    name: 'sends a flood of single bytes',
    on: 'stream',
    act: async ({ stream }) => {
      await hello(stream);
      for (let at = 0; !stream.destroyed && stream.writable; at += 1) {
        stream.write(ZEROS.subarray(0, 1));
        if (at % 64 === 0) await wait(0);
      }
    },
  },
  { name: 'dribbles zeros', on: 'stream', act: ({ stream }) => dribble(stream, ZEROS, 20) },
  {
    name: 'has 200,000 capabilities',
    on: 'stream',
    act: async ({ stream }) => {
      const heard = await hello(stream);
      if (heard === undefined) return;
      const negotiated = { wireEpoch: heard.epoch, revision: 1, capabilities: manyCapabilities };
      answer(stream, heard, { type: 'hello_negotiated', negotiated });
    },
  },
  {
    name: 'refuses with a text of 4 MiB',
    on: 'stream',
    act: async ({ stream }) => {
      const heard = await hello(stream);
      const message = 'x'.repeat(4 * MIB);
      if (heard !== undefined) answer(stream, heard, { type: 'error', code: 'invalid_request', message });
    },
  },
  {
    name: 'is silent after the Hello',
    on: 'stream',
    act: async ({ stream }) => void (await hello(stream)),
  },
  { name: 'reads nothing', on: 'stream', act: ({ stream }) => void stream.pause() },
  {
    name: 'resets after the Hello',
    on: 'stream',
    act: async (peer) => {
      await hello(peer.stream);
      peer.reset();
    },
  },
  {
    name: 'ends after the Hello',
    on: 'stream',
    act: async ({ stream }) => {
      await hello(stream);
      stream.end();
    },
  },
  {
    name: 'answers and resets',
    on: 'stream',
    act: async (peer) => {
      await greet(peer.stream);
      await wait(20);
      peer.reset();
    },
  },
  {
    name: 'answers and reads nothing more',
    on: 'stream',
    act: async ({ stream }) => {
      await greet(stream);
      stream.pause();
    },
  },
  {
    name: 'answers and floods garbage',
    on: 'stream',
    act: async ({ stream }) => {
      await greet(stream);
      return flood(stream, GARBAGE);
    },
  },
  {
    name: 'answers and sends bombs',
    on: 'stream',
    act: async ({ stream }) => {
      await greet(stream);
      return flood(stream, BOMB);
    },
  },
  {
    name: 'answers and sends blocks of one byte',
    on: 'stream',
    act: async ({ stream }) => {
      await greet(stream);
      return flood(stream, Buffer.concat(Array.from({ length: 2000 }, () => ONE_BYTE_BLOCK)));
    },
  },
];
