// Tests blocks: compatibility with a real gateway's bytes, and refusal of wrong lengths.
import t from 'tap';
import binding from 'zstd-napi/binding.js';
import {
  BlockReader,
  compressBound,
  type Block,
  MAX_COMPRESSED_BYTES,
  MAX_UNCOMPRESSED_BYTES,
  MAX_WRITTEN_BYTES,
} from '../../daemon/compression/block.ts';
import { BlockDecoder, encodeBlock } from '../../daemon/compression/zstd.ts';
import { decodeBlock } from './decode-block.ts';
import { blocksSurviveChunking, damagedBlocksAreRefused } from '../bmux-ipc/properties.ts';
import { vectors } from '../errors/root.ts';

interface Captured {
  sent: string[];
  received: { compressed: string; plain: string; uncompressed_length: number }[];
}

/** A block whose header may state a wrong length. */
function block(
  compressed: Uint8Array,
  uncompressedLength: number,
  compressedLength = compressed.length,
): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(compressedLength, 0);
  header.writeUInt32LE(uncompressedLength, 4);
  return Buffer.concat([header, compressed]);
}

function decode(stream: Buffer): Buffer[] {
  const reader = new BlockReader();
  const plain: Buffer[] = [];
  reader.push(stream);
  for (let next = reader.next(); next !== undefined; next = reader.next()) plain.push(decodeBlock(next));
  return plain;
}

t.test('blocks of a real gateway decode, and ours are like its', async (t) => {
  const { sent, received } = vectors<Captured>('v4-compressed.json');
  for (const one of received) {
    const [plain] = decode(Buffer.from(one.compressed, 'hex'));
    t.equal(plain?.toString('hex'), one.plain);
    t.equal(plain?.length, one.uncompressed_length);
    t.strictSame(decode(encodeBlock(Buffer.from(one.plain, 'hex'))), [plain]);
  }
  const both = Buffer.from(received.map((one) => one.compressed).join(''), 'hex');
  t.equal(Buffer.concat(decode(both)).toString('hex'), received.map((one) => one.plain).join(''));
  t.equal(
    Buffer.concat(decode(Buffer.from(sent.slice(1).join(''), 'hex'))).toString('hex'),
    '050000000402000101050000000403000103',
  );
});

t.test('blocks survive chunking', async () => {
  blocksSurviveChunking(100);
});
t.test('damaged blocks are refused', async () => {
  damagedBlocksAreRefused(300);
});

t.test('the bounds are those of zstd', async (t) => {
  for (const length of [0, 1, 100, MAX_WRITTEN_BYTES, 128 * 1024 - 1, 128 * 1024, MAX_UNCOMPRESSED_BYTES])
    t.equal(compressBound(length), binding.compressBound(length));
});

t.test('claims are refused before their bytes arrive', async (t) => {
  const none = new Uint8Array();
  const cases: [string, Buffer][] = [
    ['block_too_large', block(none, MAX_UNCOMPRESSED_BYTES + 1, 10)],
    ['block_too_large', block(none, 10, MAX_COMPRESSED_BYTES + 1)],
    ['block_too_large', block(none, 10, MAX_COMPRESSED_BYTES + 1).subarray(0, 4)],
    ['block_invalid', block(none, 0, 10)],
    ['block_invalid', block(none, 10, 0)],
  ];
  for (const [code, header] of cases) t.throws(() => new BlockReader().push(header), { code });
  const plainHello = Buffer.from('b3000000040100ae01000401', 'hex');
  t.throws(() => new BlockReader().push(plainHello), { code: 'block_too_large' }, 'a plain Hello');
});

t.test('a bomb costs nothing', async (t) => {
  const bomb = Buffer.alloc(9000);
  const zeros = Buffer.alloc(256 * 1024 * 1024);
  const length = new binding.CCtx().compress(bomb, zeros, 19);
  const small = bomb.subarray(0, length);
  const highest = process.memoryUsage();
  const started = performance.now();
  // First the true length is over the bound. Then the block's header states a wrong one, then also zstd's own header.
  t.throws(() => decode(block(small, zeros.length)), { code: 'block_too_large' });
  t.throws(() => decode(block(small, 1000)), { code: 'block_invalid' });
  const forged = Buffer.from(small);
  forged.writeUInt32LE(1000, 6);
  t.equal(binding.getFrameContentSize(forged), 1000, 'the size was forged where zstd keeps it');
  t.throws(() => decode(block(forged, 1000)), { code: 'block_invalid' });
  const sizeless = Buffer.from(small);
  t.throws(() => decode(block(sizeless.subarray(0, 20), MAX_UNCOMPRESSED_BYTES)), { code: 'block_invalid' });
  const now = process.memoryUsage();
  t.ok(performance.now() - started < 10_000);
  t.ok(
    now.arrayBuffers - highest.arrayBuffers < 1024 * 1024,
    `${now.arrayBuffers - highest.arrayBuffers} bytes`,
  );
  t.strictSame(decode(encodeBlock(Buffer.from('still usable'))), [Buffer.from('still usable')]);
});

t.test('a frame that does not state its size is decoded within the claim', async (t) => {
  const compressor = new binding.CCtx();
  const out = Buffer.alloc(1000);
  const [, first] = compressor.compressStream2(out, Buffer.from('some text'), binding.EndDirective.flush);
  const [, last] = compressor.compressStream2(
    out.subarray(first),
    new Uint8Array(),
    binding.EndDirective.end,
  );
  const frame = out.subarray(0, first + last);
  t.equal(binding.getFrameContentSize(frame), null);
  t.strictSame(decode(block(frame, 9)), [Buffer.from('some text')]);
  t.throws(() => decode(block(frame, 8)), { code: 'block_invalid' }, 'more than claimed');
  t.throws(() => decode(block(frame, 10)), { code: 'block_invalid' }, 'less than claimed');
});

/** Blocks of 1 MiB each, at this level of zstd. */
function large(level: number, length = 1024 * 1024): Block {
  const out = Buffer.alloc(length);
  const used = new binding.CCtx().compress(out, Buffer.alloc(length), level);
  return { compressed: out.subarray(0, used), uncompressedLength: length };
}

t.test('a large block is decoded in pieces', async (t) => {
  const decoder = new BlockDecoder(large(1));
  let got = 0;
  while (!decoder.over) {
    const piece = decoder.next();
    t.ok(piece.length <= 64 * 1024 && piece.every((byte) => byte === 0));
    got += piece.length;
  }
  t.equal(got, 1024 * 1024);
});

t.test('many large blocks at once are all decoded', async (t) => {
  const decoders = Array.from({ length: 40 }, () => new BlockDecoder(large(1)));
  const got = decoders.map(() => 0);
  while (decoders.some(({ over }) => !over)) {
    decoders.forEach((decoder, at) => {
      if (!decoder.over) got[at] = (got[at] ?? 0) + decoder.next().length;
    });
  }
  t.ok(got.every((bytes) => bytes === 1024 * 1024));
});

t.test('a large block that is not what it claims is refused', async (t) => {
  const { compressed } = large(1);
  const sizeless = new binding.CCtx();
  const out = Buffer.alloc(4096);
  const [, first, taken] = sizeless.compressStream2(
    out,
    Buffer.alloc(1024 * 1024),
    binding.EndDirective.continue,
  );
  t.equal(taken, 1024 * 1024);
  const [, last] = sizeless.compressStream2(out.subarray(first), new Uint8Array(), binding.EndDirective.end);
  const stream = out.subarray(0, first + last);
  const cases: [string, Block][] = [
    ['cut', { compressed: compressed.subarray(0, 40), uncompressedLength: 1024 * 1024 }],
    ['more than claimed', { compressed: stream, uncompressedLength: 1024 * 1024 - 1 }],
    ['less than claimed', { compressed: stream, uncompressedLength: 1024 * 1024 + 1 }],
    ['a window for 16 MiB', large(19, 16 * 1024 * 1024)],
  ];
  for (const [what, block] of cases) t.throws(() => decodeBlock(block), { code: 'block_invalid' }, what);
  t.equal(decodeBlock({ compressed: stream, uncompressedLength: 1024 * 1024 }).length, 1024 * 1024);
});
