// Tests the zstd of Node in the place of the package. Where this Node has none, the package plays it, so that the frames are checked anyway.
import { randomBytes } from 'node:crypto';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import * as napi from 'zstd-napi';
import binding from 'zstd-napi/binding.js';
import { nodeZstd } from '../../daemon/compression/node-zstd.ts';
import { rawFrames } from '../../daemon/compression/raw-frames.ts';
import { fail } from '../../daemon/errors/fail.ts';

const hasZstd = 'zstdCompressSync' in zlib;
/** Takes bytes after a frame, as Node does. */
const PLAYED = {
  constants: { ZSTD_c_compressionLevel: 100, ZSTD_d_windowLogMax: 100 },
  zstdCompressSync: (plain: Uint8Array) => napi.compress(plain),
  zstdDecompressSync: (compressed: Uint8Array, { maxOutputLength }: { maxOutputLength: number }) => {
    const target = Buffer.alloc(maxOutputLength);
    const [, produced] = new binding.DCtx().decompressStream(target, compressed);
    return target.subarray(0, produced);
  },
};
const zstd = nodeZstd(1, hasZstd ? zlib : PLAYED);

t.test('a Node without zstd says so', async (t) => {
  t.equal(nodeZstd(1, { constants: {} }), undefined);
  t.equal(nodeZstd(1) === undefined, !hasZstd);
});

t.test('blocks of one are read by the other', async (t) => {
  if (zstd === undefined) throw new Error('no zstd');
  const [compressor, decompressor] = [new binding.CCtx(), new binding.DCtx()];
  const same = fc.property(
    fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      // Text that repeats itself, and runs of one byte.
      fc.integer({ min: 1, max: 65_536 }).map((length) => Buffer.alloc(length, 'a line of text\n')),
      fc.integer({ min: 1, max: 65_536 }).map((length) => Buffer.alloc(length, 'x')),
    ),
    fc.boolean(),
    (plain, checksum) => {
      const target = Buffer.alloc(plain.length * 2 + 100);
      const written = zstd.compress(target, plain);
      const back = Buffer.alloc(plain.length);
      if (decompressor.decompress(back, target.subarray(0, written)) !== plain.length) return false;
      if (
        !back.equals(plain) ||
        ![null, plain.length].includes(zstd.contentSize(target.subarray(0, written)))
      )
        return false;
      compressor.setParameter(binding.CParameter.checksumFlag, checksum ? 1 : 0);
      const other = Buffer.alloc(target.length);
      const length = compressor.compress2(other, plain);
      const frame = other.subarray(0, length);
      if (zstd.contentSize(frame) !== binding.getFrameContentSize(frame)) return false;
      back.fill(0);
      return zstd.decompress(back, frame) === plain.length && back.equals(plain);
    },
  );
  fc.assert(same, { numRuns: 100 });
  t.pass();
});

t.test('what is not exactly one frame, or does not fit, is refused', async (t) => {
  if (zstd === undefined) throw new Error('no zstd');
  const plain = Buffer.alloc(5000, 'some text\n');
  const frame = napi.compress(plain);
  const into = (length: number, bytes: Uint8Array): number => zstd.decompress(Buffer.alloc(length), bytes);
  t.equal(into(5000, frame), 5000);
  t.throws(() => into(5000, Buffer.concat([frame, Buffer.from('x')])), /frame/, 'bytes after it');
  t.throws(() => into(10_000, Buffer.concat([frame, frame])), /frame/, 'two frames');
  for (const cut of [1, 3, frame.length - 4, frame.length - 6])
    t.throws(() => into(5000, frame.subarray(0, frame.length - cut)), `cut by ${String(cut)}`);
  t.throws(() => into(5000, Buffer.alloc(100)), /frame/, 'no frame');
  t.throws(() => zstd.contentSize(Buffer.from([1, 2])));
});

t.test('more than the target takes is refused', { skip: !hasZstd && 'this Node has no zstd' }, async (t) => {
  const frame = napi.compress(Buffer.alloc(1 << 20));
  t.throws(() => zstd?.decompress(Buffer.alloc(1000), frame), { code: 'ERR_BUFFER_TOO_LARGE' });
});

t.test('frames without a zstd can be read by any, and those of others are refused by name', async (t) => {
  const raw = rawFrames(fail('zstd_unavailable'));
  const refused = { code: 'zstd_unavailable' };
  for (const length of [1, 255, 256, 65_536]) {
    const plain = randomBytes(length);
    const target = Buffer.alloc(length + 100);
    const frame = target.subarray(0, raw.compress(target, plain));
    t.ok(napi.decompress(frame).equals(plain), String(length));
    t.equal(raw.contentSize(frame), length);
    t.throws(() => raw.decompress(Buffer.alloc(length), frame), refused);
  }
  t.equal(raw.contentSize(napi.compress(Buffer.alloc(5000))), 5000);
  t.throws(() => raw.contentSize(Buffer.from('HTTP/1.1 400')), /not a zstd frame/);
});
