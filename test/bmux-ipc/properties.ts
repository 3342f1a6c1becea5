// Properties of every format on the wire. `runs` is the number of examples: few in tests, many in a soak.
import { deepEqual, equal, ok } from 'node:assert/strict';
import fc from 'fast-check';
import { Failure } from '../../daemon/base/failure.ts';
import { BlockReader } from '../../daemon/compression/block.ts';
import { encodeBlock } from '../../daemon/compression/zstd.ts';
import { decodeBlock } from '../compression/decode-block.ts';
import { Reader, Writer } from '../../daemon/bmux-ipc/codec.ts';
import { decodeEnvelope, encodeEnvelope } from '../../daemon/bmux-ipc/envelope.ts';
import { encodeFrame, FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import { decodeRequest, encodeRequest } from '../../daemon/bmux-ipc/request.ts';
import { decodeResponse, encodeResponse } from '../../daemon/bmux-ipc/response.ts';
import * as any from './arbitraries.ts';

/** Makes Node's Buffers and plain arrays comparable. */
function same(got: unknown, wanted: unknown): void {
  const plain = (value: unknown): unknown =>
    value instanceof Uint8Array
      ? Array.from(value)
      : Array.isArray(value)
        ? value.map(plain)
        : typeof value === 'object' && value !== null
          ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
          : value;
  deepEqual(plain(got), plain(wanted));
}

/** `work` may fail only with a failure of the given code. */
function refusesOnly(codes: readonly string[], work: () => unknown): void {
  try {
    work();
  } catch (error) {
    ok(error instanceof Failure, `not a failure: ${String(error)}`);
    ok(codes.includes(error.code), error.code);
  }
}

/** Written bytes are read back to the same value; a missing or an extra byte is refused. */
export function valuesSurvive(runs: number): void {
  const values = fc.tuple(
    any.epoch,
    fc.boolean(),
    any.u64,
    any.text,
    any.bytes(),
    any.uuid,
    fc.option(any.text),
    fc.array(any.u64),
  );
  fc.assert(
    fc.property(values, ([epoch, flag, number, text, bytes, uuid, option, list]) => {
      const written = new Writer(1)
        .bool(flag)
        .varint(number)
        .string(text)
        .bytes(bytes)
        .uuid(epoch, uuid)
        .option(option ?? undefined, (value, writer) => writer.string(value))
        .vec(list, (value, writer) => writer.varint(value))
        .finish();
      const read = (input: Uint8Array): unknown[] => {
        const reader = new Reader(input);
        const got = [reader.bool(), reader.varint(), reader.string(), reader.bytes(), reader.uuid(epoch)];
        const rest = [reader.option(() => reader.string()), reader.vec(() => reader.varint())];
        reader.end();
        return [...got, ...rest];
      };
      same(read(written), [flag, number, text, bytes, uuid, option ?? undefined, list]);
      for (const wrong of [written.subarray(0, -1), Buffer.concat([written, Buffer.of(0)])]) {
        let refused = false;
        refusesOnly(['frame_invalid'], () => {
          refused = true;
          read(wrong);
          refused = false;
        });
        ok(refused);
      }
    }),
    { numRuns: runs },
  );
}

/** Envelopes, requests and answers of both epochs survive encoding and decoding. */
export function messagesSurvive(runs: number): void {
  fc.assert(
    fc.property(any.envelope, any.request, any.response, (envelope, asked, answered) => {
      same(decodeEnvelope(encodeEnvelope(envelope)), envelope);
      same(decodeRequest(asked.epoch, encodeRequest(asked.epoch, asked.request)), asked.request);
      same(
        decodeResponse(answered.epoch, encodeResponse(answered.epoch, answered.response)),
        answered.response,
      );
    }),
    { numRuns: runs },
  );
}

/** Frames are read as written, wherever the stream is cut; an incomplete frame stays in the rest. */
export function framesSurviveChunking(runs: number): void {
  fc.assert(
    fc.property(any.contents(), any.cuts, fc.uint8Array({ maxLength: 3 }), (payloads, sizes, tail) => {
      const reader = new FrameReader();
      const got: Uint8Array[] = [];
      for (const chunk of any.cut(Buffer.concat([...payloads.map(encodeFrame), tail]), sizes)) {
        reader.push(chunk);
        for (let payload = reader.next(); payload !== undefined; payload = reader.next()) got.push(payload);
      }
      // Compared at the end, because returned frames must not change when more data arrives.
      same(got, payloads);
      same(reader.rest(), tail);
      equal(reader.rest().length, 0);
    }),
    { numRuns: runs },
  );
}

/** Blocks are read as written, wherever the stream is cut. */
export function blocksSurviveChunking(runs: number): void {
  fc.assert(
    fc.property(any.contents(1), any.cuts, (contents, sizes) => {
      const reader = new BlockReader();
      const got: Uint8Array[] = [];
      for (const chunk of any.cut(Buffer.concat(contents.map(encodeBlock)), sizes)) {
        reader.push(chunk);
        for (let block = reader.next(); block !== undefined; block = reader.next())
          got.push(decodeBlock(block));
      }
      same(got, contents);
      ok(reader.empty);
    }),
    { numRuns: runs },
  );
}

/** Random bytes are read or refused, and so is a valid message with a few changed bytes. */
export function garbageIsRefused(runs: number): void {
  const changed = fc
    .tuple(
      any.request,
      any.response,
      any.envelope,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      fc.nat(2),
    )
    .map(([{ epoch, request }, answer, envelope, changes, which]) => {
      const messages = [
        encodeRequest(epoch, request),
        encodeResponse(answer.epoch, answer.response),
        encodeEnvelope(envelope),
      ];
      const message = Uint8Array.from(messages[which] ?? []);
      for (const [at, value] of changes) if (message.length > 0) message[at % message.length] = value;
      return message;
    });
  fc.assert(
    fc.property(fc.oneof(any.bytes(), changed), any.epoch, (input, epoch) => {
      refusesOnly(['frame_invalid'], () => decodeEnvelope(input));
      refusesOnly(['frame_invalid'], () => decodeRequest(epoch, input));
      refusesOnly(['frame_invalid'], () => decodeResponse(epoch, input));
      refusesOnly(['frame_too_large'], () => {
        const reader = new FrameReader();
        reader.push(input);
        while (reader.next() !== undefined);
      });
      refusesOnly(['block_invalid', 'block_too_large'], () => {
        const reader = new BlockReader();
        reader.push(input);
        for (let block = reader.next(); block !== undefined; block = reader.next()) decodeBlock(block);
      });
    }),
    { numRuns: runs },
  );
}

/** A block with changed bytes gives bytes of its own length or a refusal, and never crashes. */
export function damagedBlocksAreRefused(runs: number): void {
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 2000 }), damage, (content, changes) => {
      const block = encodeBlock(content);
      for (const [at, value] of changes) block[at % block.length] = value;
      refusesOnly(['block_invalid', 'block_too_large'], () => {
        const reader = new BlockReader();
        reader.push(block);
        for (let next = reader.next(); next !== undefined; next = reader.next())
          equal(decodeBlock(next).length, next.uncompressedLength);
      });
    }),
    { numRuns: runs },
  );
}

/** All properties by name, for longer runs. */
export const PROPERTIES: Readonly<Record<string, (runs: number) => void>> = {
  valuesSurvive,
  messagesSurvive,
  framesSurviveChunking,
  blocksSurviveChunking,
  garbageIsRefused,
  damagedBlocksAreRefused,
};
