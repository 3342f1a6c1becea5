// The envelope inside every frame. It holds no Uuid, so a peer of either epoch can read it (docs/bmux-protocol.md, "Across epochs").
import { Reader, Writer } from './codec.ts';

const KINDS = ['request', 'response', 'event'] as const;
export type EnvelopeKind = (typeof KINDS)[number];

/** docs/bmux-protocol.md, "Envelope". `version` is the epoch of the sender; only the rules of that epoch decode `payload`. */
export interface Envelope {
  readonly version: number;
  readonly requestId: bigint;
  readonly kind: EnvelopeKind;
  readonly payload: Uint8Array;
}

/** `payload` of the result is a view. Accepts every version; throws `frame_invalid` if the bytes are not an envelope. */
export function decodeEnvelope(payload: Uint8Array): Envelope {
  const reader = new Reader(payload);
  const version = reader.u16();
  const requestId = reader.varint();
  const kind = KINDS[reader.variant(KINDS.length, 'EnvelopeKind')] ?? 'request';
  const body = reader.bytes();
  reader.end();
  return { version, requestId, kind, payload: body };
}

/** Encodes an envelope as the payload of a frame; `encodeFrame` adds the length. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return new Writer(envelope.payload.length + 24)
    .varint(envelope.version)
    .varint(envelope.requestId)
    .varint(KINDS.indexOf(envelope.kind))
    .bytes(envelope.payload)
    .finish();
}
