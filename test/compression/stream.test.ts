// Tests the compressed stream over real sockets: bytes, ends, back-pressure, errors.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, type Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import binding from 'zstd-napi/binding.js';
import { BlockReader, MAX_WRITTEN_BYTES } from '../../daemon/compression/block.ts';
import { compressed } from '../../daemon/compression/stream.ts';
import { encodeBlock } from '../../daemon/compression/zstd.ts';
import { decodeBlock } from './decode-block.ts';
import { contents, cut, cuts } from '../bmux-ipc/arbitraries.ts';

const folder = mkdtempSync(join(tmpdir(), 'bmuxd-zs-'));
t.teardown(() => {
  rmSync(folder, { recursive: true });
});
let sockets = 0;

/** Both ends of one Unix socket, with half-open allowed. */
async function pair(t: Test): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(join(folder, String((sockets += 1))));
  await once(server, 'listening');
  const near = net.connect({ path: server.address() as string, allowHalfOpen: true });
  const [far] = (await once(server, 'connection')) as [net.Socket];
  t.teardown(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return [near, far];
}

/** Reads everything up to the end. `toArray` would destroy a stream whose other side is still open. */
async function text(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks);
}

/** Waits for 'close'; returns the stream's error, if any. */
function closed(stream: Duplex): Promise<unknown> {
  return new Promise((resolve) => {
    let seen: unknown;
    stream.on('error', (error) => (seen = error));
    stream.on('close', () => {
      resolve(seen);
    });
  });
}

/** Waits until `done()`, which is checked in every turn of the loop; tap's own limit ends a wait that never succeeds. */
async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** Waits until `value()` has stayed the same for a while. */
async function settled(value: () => number): Promise<number> {
  for (let last = -1, still = 0; ;) {
    const now = value();
    still = now === last ? still + 1 : 0;
    if (still === 20) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

t.test('what is written arrives, in both directions at once', async (t) => {
  const noise = randomBytes(3_000_000);
  const terminal = Buffer.from('\u001b[32mok\u001b[0m 1234 some line of a terminal\r\n'.repeat(80_000));
  const [near, far] = await pair(t);
  const [here, there] = [compressed(near), compressed(far)];
  const sizes = [1, 70, 300_000, 9, 65_536, 4096];
  const send = async (content: Buffer, stream: Duplex): Promise<void> => {
    await pipeline(Readable.from(cut(content, sizes)), stream, { end: true });
  };
  const [, , gotThere, gotHere] = await Promise.all([
    send(noise, here),
    send(terminal, there),
    text(there),
    text(here),
  ]);
  t.ok(gotThere.equals(noise));
  t.ok(gotHere.equals(terminal));
  t.ok(far.bytesWritten < terminal.length / 4, 'and the wire carries less');
});

t.test('any contents through any cuts of the wire', async (t) => {
  await fc.assert(
    fc.asyncProperty(contents(1), cuts, async (written, sizes) => {
      const [near, far] = await pair(t);
      const got = text(compressed(near));
      for (const chunk of cut(Buffer.concat(written.map(encodeBlock)), sizes)) far.write(chunk);
      far.end();
      t.ok((await got).equals(Buffer.concat(written)));
      near.destroy();
    }),
    { numRuns: 30 },
  );
});

t.test('every write leaves at once as a block; queued ones share; an empty one makes none', async (t) => {
  const [near, far] = await pair(t);
  const here = compressed(near);
  const blocks = new BlockReader();
  const plain: string[] = [];
  far.on('data', (chunk: Buffer) => {
    blocks.push(chunk);
    for (let block = blocks.next(); block !== undefined; block = blocks.next())
      plain.push(decodeBlock(block).toString());
  });
  here.write('a');
  await until(() => plain.length === 1);
  here.write('');
  here.write('bc');
  await until(() => plain.length === 2);
  here.cork();
  for (const piece of ['d', '', 'e', 'f']) here.write(piece);
  here.uncork();
  await until(() => plain.length === 3);
  here.end();
  await once(far, 'end');
  t.strictSame(plain, ['a', 'bc', 'def']);
  t.ok(blocks.empty);
});

t.test('writes larger than a block are split, and no block we send is over the limit', async (t) => {
  const [near, far] = await pair(t);
  const here = compressed(near);
  const content = randomBytes(MAX_WRITTEN_BYTES * 3 + 1);
  here.cork();
  here.write(content.subarray(0, 40_000));
  here.end(content.subarray(40_000));
  const blocks = new BlockReader();
  blocks.push(await text(far));
  const plain: Buffer[] = [];
  for (let block = blocks.next(); block !== undefined; block = blocks.next()) plain.push(decodeBlock(block));
  t.strictSame(
    plain.map((one) => one.length),
    [MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES, 1],
  );
  t.ok(Buffer.concat(plain).equals(content));
});

t.test('either side can end alone, and the other goes on', async (t) => {
  const [near, far] = await pair(t);
  const [here, there] = [compressed(near), compressed(far)];
  here.end('question');
  t.equal((await text(there)).toString(), 'question');
  t.notOk(there.destroyed);
  there.write('answer, ');
  there.end('later');
  t.equal((await text(here)).toString(), 'answer, later');
  await Promise.all([until(() => near.destroyed), until(() => far.destroyed)]);
  t.ok(here.destroyed);
});

t.test('a stream may end between blocks and nowhere else', async (t) => {
  const block = encodeBlock(Buffer.from('a block'));
  for (const [length, code] of [
    [0, undefined],
    [1, 'block_truncated'],
    [7, 'block_truncated'],
    [8, 'block_truncated'],
    [block.length - 1, 'block_truncated'],
    [block.length, undefined],
  ] as const) {
    // oxfmt-ignore
    const [near, far] = await pair(t);
    const here = compressed(near);
    const gone = closed(here);
    here.resume();
    here.end();
    far.end(Buffer.concat([block, block.subarray(0, length)]));
    t.match(await gone, code === undefined ? undefined : { code }, `${length} bytes of a block`);
    t.ok(near.destroyed);
  }
});

t.test('what a peer may not send ends both streams, with the cause', async (t) => {
  const damaged = encodeBlock(randomBytes(100));
  damaged[9] = (damaged[9] ?? 0) ^ 0xff;
  const cases: [string, Buffer, boolean][] = [
    ['block_invalid', damaged, true],
    ['block_too_large', Buffer.from('b3000000040100ae01000401', 'hex'), false],
    ['block_invalid', Buffer.from('0a00000000000000', 'hex'), false],
  ];
  for (const [code, bytes, hasCause] of cases) {
    const [near, far] = await pair(t);
    const here = compressed(near);
    const gone = closed(here);
    here.resume();
    far.write(bytes);
    const error = await gone;
    t.match(error, { code });
    t.equal((error as Error).cause instanceof Error, hasCause);
    t.ok(near.destroyed);
  }
});

t.test('destruction goes both ways', async (t) => {
  for (const which of ['outer', 'inner'] as const) {
    const [near] = await pair(t);
    const here = compressed(near);
    const [goneHere, goneNear] = [closed(here), closed(near)];
    const why = new Error('enough');
    (which === 'outer' ? here : near).destroy(why);
    t.equal(await goneHere, why);
    t.equal(await goneNear, why);
  }
  const [near] = await pair(t);
  const here = compressed(near);
  here.resume();
  near.destroy();
  t.equal(await closed(here), undefined, 'without an error when there was none');
  t.ok(compressed(near).destroyed, 'over a stream that is gone already');
});

t.test('a reader that stops, stops the writer, and nothing piles up', async (t) => {
  const [near, far] = await pair(t);
  const [here, there] = [compressed(near), compressed(far)];
  const content = randomBytes(65_536);
  let taken = 0;
  const write = (): void => {
    while (here.write(content, () => (taken += content.length))) if (here.writableLength > 1e7) break;
  };
  here.on('drain', write);
  write();
  const stuck = await settled(() => taken);
  t.ok(stuck < 4_000_000, `${stuck} bytes were taken with no reader`);
  t.ok(far.isPaused());
  let read = 0;
  there.on('data', (chunk: Buffer) => (read += chunk.length));
  await until(() => read > stuck + 5_000_000);
  there.pause();
  const again = await settled(() => taken);
  t.ok(again - read < 4_000_000, `${again - read} bytes were taken after the reader stopped`);
  t.ok(there.readableLength < 1_000_000);
  const pending = closed(here);
  here.removeAllListeners('drain');
  const late = new Promise((resolve) => here.write(content, resolve));
  here.destroy();
  t.match(await late, { code: 'ERR_STREAM_DESTROYED' }, 'a write under way learns of the end');
  t.equal(await pending, undefined);
});

t.test('blocks are decompressed only as the reader takes them', async (t) => {
  const [near, far] = await pair(t);
  const here = compressed(near);
  const honest = Buffer.alloc(2048);
  const size = 16 * 1024 * 1024;
  const length = new binding.CCtx().compress(honest, Buffer.alloc(size), 1);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(length, 0);
  header.writeUInt32LE(size, 4);
  const block = Buffer.concat([header, honest.subarray(0, length)]);
  const before = process.memoryUsage().arrayBuffers;
  far.end(Buffer.concat(Array.from({ length: 20 }, () => block)));
  here.read(0);
  await until(() => here.readableLength > 0);
  t.ok((await settled(() => here.readableLength)) < size / 64, 'a part of one of twenty');
  t.ok(process.memoryUsage().arrayBuffers - before < size / 4);
  let read = 0;
  for await (const chunk of here) read += (chunk as Buffer).length;
  t.equal(read, 20 * size, 'and none is lost when the inner stream has ended meanwhile');
});

t.test('what arrived before the peer went is still read', async (t) => {
  const [near, far] = await pair(t);
  near.allowHalfOpen = false;
  const here = compressed(near);
  const blocks = Array.from({ length: 3 }, () => encodeBlock(randomBytes(MAX_WRITTEN_BYTES)));
  far.end(Buffer.concat(blocks));
  here.read(0);
  await until(() => here.readableLength > 0);
  here.read();
  await until(() => here.readableLength > 0);
  here.read();
  await until(() => here.readableLength > 0);
  await until(() => near.destroyed || near.readableEnded);
  t.equal((await text(here)).length, MAX_WRITTEN_BYTES);
  await until(() => here.destroyed);
});
