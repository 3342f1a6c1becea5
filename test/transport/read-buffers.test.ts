// Read buffers are reused, and never before their reader is done.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { createServer as createTls } from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { compressed } from '../../daemon/compression/stream.ts';
import { Flow } from '../../daemon/splice/flow.ts';
import { giveBack } from '../../daemon/base/streams/blocks.ts';
import { connectReading, connectTlsReading } from '../../daemon/transport/read-buffers.ts';
import { pattern } from '../embedded/traffic.ts';
import { waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';
import { startPairs } from '../splice/pair.ts';
import { makeCertificates, noOpenssl } from './tls/certificates.ts';
import { readAll } from './dialling.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-reads-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));

/** Sends this many bytes on a connection of the server. */
type Pieces = readonly number[];

async function listening(server: Server, where: { path: string } | { port: number }): Promise<void> {
  server.listen('path' in where ? where.path : where.port);
  await once(server, 'listening');
}

/** Reads `pieces` of it, keeps every second chunk for a while, and gives back the others. True when no kept chunk changed. */
async function holds(reader: Socket, talker: Socket, pieces: Pieces): Promise<boolean> {
  const total = pieces.reduce((sum, piece) => sum + piece, 0);
  const kept: { readonly chunk: Buffer; readonly at: number }[] = [];
  let got = 0;
  let right = true;
  const look = (chunk: Buffer, at: number): void => {
    right &&= chunk.equals(pattern(at, chunk.length));
    giveBack(chunk);
  };
  reader.on('data', (chunk: Buffer) => {
    if (got % 3 === 0) kept.push({ chunk, at: got });
    else look(chunk, got);
    got += chunk.length;
    if (kept.length > 5) for (const old of kept.splice(0, 3)) look(old.chunk, old.at);
  });
  let said = 0;
  for (const piece of pieces) {
    talker.write(pattern(said, piece));
    said += piece;
    if (piece % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  talker.end();
  await once(reader, 'end');
  for (const { chunk, at } of kept) look(chunk, at);
  reader.destroy();
  return right && got === total;
}

const PIECES = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(8192, 16_384, 32_768, 65_536, 200_000)),
  { maxLength: 30 },
);

t.test('a chunk stays as it is until it is given back: Unix sockets', async (t) => {
  const server = createServer({ allowHalfOpen: true });
  await listening(server, { path: join(folder, 'a.sock') });
  t.teardown(() => server.close());
  await fc.assert(
    fc.asyncProperty(PIECES, async (pieces) => {
      const accepted = once(server, 'connection');
      const reader = connectReading({ path: join(folder, 'a.sock'), allowHalfOpen: true });
      const [talker] = (await accepted) as [Socket];
      talker.on('error', () => undefined).resume();
      return holds(reader, talker, pieces);
    }),
    { numRuns: 60 },
  );
});

t.test('a chunk stays as it is until it is given back: TLS', { skip: noOpenssl }, async (t) => {
  const made = await makeCertificates();
  t.teardown(() => made.remove());
  const { cert, key } = await made.selfSigned('one', 'DNS:one.test');
  const server = createTls({ cert, key });
  await listening(server, { port: 0 });
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  await fc.assert(
    fc.asyncProperty(PIECES, async (pieces) => {
      const accepted = once(server, 'secureConnection');
      const reader = connectTlsReading({ host: '127.0.0.1', port, servername: 'one.test', ca: cert });
      const [talker] = (await accepted) as [Socket];
      talker.on('error', () => undefined).resume();
      return holds(reader, talker, pieces);
    }),
    { numRuns: 40 },
  );
});

t.test('what was given back is read into again', async (t) => {
  const pairs = await startPairs();
  t.teardown(() => pairs.close());
  const [reader, talker] = await pairs.pair();
  const memory = new Set<ArrayBufferLike>();
  let got = 0;
  reader.on('data', (chunk: Buffer) => {
    got += chunk.length;
    if (chunk.length >= 32_768) memory.add(chunk.buffer);
    giveBack(chunk);
  });
  const bytes = 32 * 1024 * 1024;
  talker.write(Buffer.alloc(bytes));
  await waitFor('all of it', () => got === bytes);
  // Without reuse every read allocates its own memory: 512. Short reads are copied and not counted here.
  t.ok(memory.size < 32, `${String(memory.size)} buffers for 512 reads`);
});

t.test('a write is done when its bytes are needed no more: compression', async (t) => {
  const pairs = await startPairs();
  t.teardown(() => pairs.close());
  const [near, far] = await pairs.pair();
  const writer = compressed(near);
  const reader = compressed(far);
  const got = readAll(reader);
  const total = 200 * 10_000;
  for (let at = 0; at < total; at += 10_000) {
    const chunk = pattern(at, 10_000);
    writer.write(chunk, () => chunk.fill(0));
    if (at % 70_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  writer.end();
  t.ok((await got).equals(pattern(0, total)));
  reader.destroy();
});

interface Under {
  readonly chunk: Buffer;
  /** The same bytes as when it was written. */
  readonly copy: Buffer;
  readonly done: (error: Error) => void;
}

t.test('a write that failed may still be under way: its memory is used for nothing else', async (t) => {
  const pairs = await startPairs();
  t.teardown(() => pairs.close());
  const [client, near] = await pairs.pair();
  let writes = 0;
  const under: Under[] = [];
  // Like a stream that is ended gracefully after it was destroyed: its pending writes still finish.
  const remote = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      if (++writes < 4 || chunk.length < 32_768) done();
      else under.push({ chunk, copy: Buffer.from(chunk), done });
    },
  });
  remote.on('error', () => undefined);
  const flow = new Flow({ from: near, to: remote, bufferLimit: 0, onEnd: () => undefined });
  client.write(pattern(0, 1024 * 1024));
  await waitFor('a write that is not done', () => under.length > 0);
  under[0]?.done(new Error('destroyed'));
  const [reader, talker] = await pairs.pair();
  let got = 0;
  reader.on('data', (chunk: Buffer) => {
    got += chunk.length;
    giveBack(chunk);
  });
  talker.write(Buffer.alloc(8 * 1024 * 1024));
  await waitFor('other reads', () => got === 8 * 1024 * 1024);
  t.ok(under.every(({ chunk, copy }) => chunk.equals(copy)));
  flow.detach();
});

const THROWING = `
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
const { connectReading, afterThrow } = await import(process.argv[1]);
const { pattern } = await import(process.argv[2]);
process.on('uncaughtException', afterThrow);
const talkers = [];
const server = createServer((socket) => talkers.push(socket)).listen(process.argv[3]);
await once(server, 'listening');
for (const how of ['at once', 'in a tick']) {
  const reader = connectReading({ path: process.argv[3] });
  await once(reader, 'connect');
  while (talkers.length === 0) await new Promise(setImmediate);
  const talker = talkers.shift();
  const chunks = [];
  let at = 0;
  reader.on('data', (chunk) => {
    chunks.push({ at, chunk, right: chunk.equals(pattern(at, chunk.length)) });
    at += chunk.length;
    if (chunks.length !== 3) return;
    const thrown = () => { throw new Error('once'); };
    if (how === 'at once') thrown();
    process.nextTick(thrown);
  });
  for (let piece = 0; piece < 12; piece += 1) {
    talker.write(pattern(piece * 65536, 65536));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const wrong = chunks.filter(({ right }) => !right).length;
  const changed = chunks.filter(({ at, chunk }) => !chunk.equals(pattern(at, chunk.length))).length;
  console.log(how, at, wrong, changed);
  reader.destroy();
}
server.close();
`;

t.test('an exception that nobody caught in the turn of a read', async (t) => {
  const module = (path: string): string => new URL(path, import.meta.url).href;
  const child = await run(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      THROWING,
      module('../../daemon/transport/read-buffers.js'),
      module('../embedded/traffic.js'),
      join(folder, 'throw.sock'),
    ],
    {},
  );
  t.equal(child.stdout, 'at once 786432 0 0\nin a tick 786432 0 0\n', child.stderr);
});
