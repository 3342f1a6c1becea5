// fast-check arbitraries for the wire: all values of frames, envelopes, requests, answers and blocks.
import fc from 'fast-check';
import type { Contract, IncompatibilityReason } from '../../daemon/bmux-ipc/contract.ts';
import type { Envelope } from '../../daemon/bmux-ipc/envelope.ts';
import type { Request } from '../../daemon/bmux-ipc/request.ts';
import { ERROR_CODES, type Response } from '../../daemon/bmux-ipc/response.ts';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';

export const epoch: fc.Arbitrary<Epoch> = fc.constantFrom(3, 4);
const u16 = fc.integer({ min: 0, max: 0xffff });
export const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
export const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
export const uuid = fc.uuid();
/** Any text without lone surrogates, which the wire cannot encode. */
export const text = fc.string({ unit: 'binary', maxLength: 40 });
export const bytes = (maxLength = 300) => fc.uint8Array({ maxLength });

const contract: fc.Arbitrary<Contract> = fc.record({
  epoch: u16,
  revisions: fc.record({ min: u32, max: u32 }),
  capabilities: fc.array(text, { maxLength: 12 }),
});

const plain = <T extends string>(type: T) => fc.constant({ type });

/** A request with its epoch. */
export const request: fc.Arbitrary<{ epoch: Epoch; request: Request }> = epoch.chain((spoken) =>
  fc.record({
    epoch: fc.constant(spoken),
    request: fc.oneof(
      plain('ping'),
      plain('whoami'),
      plain('server_status'),
      plain('server_stop'),
      fc.record({ type: fc.constant('hello' as const), contract, clientName: text, principalId: uuid }),
      ...(spoken === 3
        ? [
            fc.record({
              type: fc.constant('hello_old' as const),
              version: u16,
              clientName: text,
              principalId: uuid,
            }),
          ]
        : []),
      fc.record({
        type: fc.constant('other' as const),
        index: fc.constantFrom(
          ...(spoken === 3 ? [4, 5, 6, 8, 9, 10, 11, 12, 13] : [5, 6, 7, 8, 9, 10, 11, 12]),
        ),
        body: bytes(),
      }),
    ),
  }),
);

const reason: fc.Arbitrary<IncompatibilityReason> = fc.oneof(
  fc.record({ type: fc.constant('wire_epoch_mismatch' as const), client: u16, server: u16 }),
  fc.record({
    type: fc.constant('no_common_revision' as const),
    clientMin: u32,
    clientMax: u32,
    serverMin: u32,
    serverMax: u32,
  }),
  fc.record({
    type: fc.constant('missing_core_capabilities' as const),
    missing: fc.array(text, { maxLength: 5 }),
  }),
);

const snapshot = fc.record(
  {
    enabled: fc.boolean(),
    exists: fc.boolean(),
    path: text,
    lastWriteMs: u64,
    lastRestoreMs: u64,
    lastRestoreError: text,
  },
  { requiredKeys: ['enabled', 'exists'] },
);

/** An answer with its epoch. */
export const response: fc.Arbitrary<{ epoch: Epoch; response: Response }> = epoch.chain((spoken) =>
  fc.record({
    epoch: fc.constant(spoken),
    response: fc.oneof(
      plain('pong'),
      plain('server_stopping'),
      fc.record({
        type: fc.constant('principal_identity' as const),
        principalId: uuid,
        serverControlPrincipalId: uuid,
        forceLocalPermitted: fc.boolean(),
      }),
      fc.record({
        type: fc.constant('server_status' as const),
        running: fc.boolean(),
        principalId: uuid,
        serverControlPrincipalId: uuid,
        ...(spoken === 3 ? { snapshot } : {}),
      }),
      fc.record({
        type: fc.constant('hello_negotiated' as const),
        negotiated: fc.record({
          wireEpoch: u16,
          revision: u32,
          capabilities: fc.array(text, { maxLength: 12 }),
        }),
      }),
      fc.record({ type: fc.constant('hello_incompatible' as const), reason }),
      fc.record({
        type: fc.constant('error' as const),
        code: fc.constantFrom(...ERROR_CODES),
        message: text,
      }),
      fc.record({
        type: fc.constant('other' as const),
        index: fc.constantFrom(
          ...(spoken === 3 ? [3, 4, 5, 6, 7, 8, 10, 11, 12] : [3, 4, 5, 7, 8, 9, 12, 13]),
        ),
        body: bytes(),
      }),
    ),
  }),
);

export const envelope: fc.Arbitrary<Envelope> = fc.record({
  version: u16,
  requestId: u64,
  kind: fc.constantFrom('request', 'response', 'event'),
  payload: bytes(),
});

/** Payloads of frames, or contents of blocks: mostly small, some larger than a socket's chunk. */
export const contents = (least = 0): fc.Arbitrary<Uint8Array[]> =>
  fc.array(
    fc.oneof(
      { weight: 9, arbitrary: fc.uint8Array({ minLength: least, maxLength: 300 }) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.integer({ min: 1, max: 1000 }))
          .map(([piece, times]) => Buffer.concat(Array.from({ length: times }, () => piece))),
      },
    ),
    { maxLength: 8 },
  );

/** Sizes of the chunks into which a stream is cut, used in turn; some are single bytes. */
export const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 70_000 })), {
  minLength: 1,
  maxLength: 12,
});

/** Cuts `whole` into chunks of these sizes. */
export function* cut(whole: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < whole.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? whole.length;
    // A copy, so that the memory after a chunk does not contain the rest of the stream.
    yield whole.slice(at, at + size);
    at += size;
  }
}
