// What a hostile iroh host does, as a table. Those of `modes.ts` act on each stream; these act on the connection.
import type { Connection } from '@number0/iroh/index.js';
import type { Duplex } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { byteArray } from '../gateways/iroh-duplex.ts';
import { flood, GARBAGE, greet, hello, HOSTILE_MODES, ZEROS, type HostileMode } from './modes.ts';

export interface HostMode {
  readonly name: string;
  /** Instead of SSH auth, on the first stream. */
  readonly auth?: (stream: Duplex, connection: Connection) => Promise<void> | void;
  /** When the connection is authenticated. */
  readonly connected?: (connection: Connection) => Promise<void> | void;
  /** On each further stream. */
  readonly act: (peer: Parameters<HostileMode['act']>[0], connection: Connection) => Promise<void> | void;
}

const REASON = byteArray(Buffer.from('a reason of the application '.repeat(30)));
const PIECE = byteArray(ZEROS.subarray(0, 16_384));
const DATAGRAM = byteArray(ZEROS.subarray(0, 1000));

/** A client gets its answer, and what the host does beside that must not matter to it. */
const answers: HostMode['act'] = async ({ stream }) => {
  await greet(stream);
  stream.resume();
};

/** Opens streams without an end, and writes on all of them at once. */
async function floodStreams(
  connection: Connection,
  open: () => Promise<{ writeAll(bytes: number[]): Promise<void> }>,
): Promise<void> {
  while (connection.closeReason() === null) {
    const sending = await open();
    void (async () => {
      while (connection.closeReason() === null) await sending.writeAll(PIECE);
    })().catch(() => undefined);
  }
}

export const HOST_MODES: readonly HostMode[] = [
  ...HOSTILE_MODES.filter(({ on }) => on === 'stream').map(({ name, act }): HostMode => ({ name, act })),
  { name: 'never answers auth', auth: () => new Promise(() => undefined), act: answers },
  {
    name: 'answers a part of auth',
    auth: (stream) => {
      stream.write('{"type":"challenge","chall');
      return new Promise(() => undefined);
    },
    act: answers,
  },
  { name: 'floods garbage in auth', auth: (stream) => flood(stream, GARBAGE), act: answers },
  {
    name: 'floods empty lines in auth',
    auth: (stream) => flood(stream, Buffer.alloc(16_384, '\n')),
    act: answers,
  },
  { name: 'ends auth', auth: (stream) => void stream.end(), act: answers },
  {
    name: 'closes with a code in auth',
    auth: (_stream, connection) => connection.close(42n, REASON),
    act: answers,
  },
  {
    name: 'closes with a code when a stream is opened',
    act: (_peer, connection) => connection.close(42n, REASON),
  },
  {
    name: 'closes with a code after the Hello',
    act: async ({ stream }, connection) => {
      await hello(stream);
      connection.close(0x3fff_ffffn, REASON);
    },
  },
  {
    name: 'closes with a code after its answer',
    act: async ({ stream }, connection) => {
      await greet(stream);
      await wait(50);
      connection.close(1n, []);
    },
  },
  { name: 'resets each stream', act: (peer) => peer.reset() },
  {
    name: 'opens streams that nobody has asked for',
    connected: (connection) => floodStreams(connection, async () => (await connection.openBi()).send),
    act: answers,
  },
  {
    name: 'opens streams in one direction',
    connected: (connection) => floodStreams(connection, () => connection.openUni()),
    act: answers,
  },
  {
    name: 'opens, ends and resets streams in one direction',
    connected: async (connection) => {
      for (let at = 0; connection.closeReason() === null; at += 1) {
        const send = await connection.openUni();
        await send.writeAll([1]);
        await (at % 2 === 0 ? send.finish() : send.reset(7n));
      }
    },
    act: answers,
  },
  {
    name: 'floods datagrams',
    connected: async (connection) => {
      while (connection.closeReason() === null) await connection.sendDatagramWait(DATAGRAM);
    },
    act: answers,
  },
];
