// Server answers: those that the broker writes or reads are decoded, all others stay an index and bytes (docs/bmux-protocol.md, "Answers").
import { Reader, Writer } from './codec.ts';
import type { IncompatibilityReason, Negotiated } from './contract.ts';
import { encodeEnvelope } from './envelope.ts';
import { fail } from '../errors/fail.ts';
import { encodeFrame } from './frame.ts';
import { readIncompatible, readNegotiated, writeIncompatible, writeNegotiated } from './hello-answer.ts';
import type { Epoch } from './epoch.ts';
import { NO_SNAPSHOT, readSnapshot, writeSnapshot, type Snapshot } from './snapshot.ts';

export const ERROR_CODES = [
  'not_found',
  'already_exists',
  'invalid_request',
  'version_mismatch',
  'timeout',
  'internal',
] as const;
export type ErrorCodeName = (typeof ERROR_CODES)[number];

/** Uuids are hyphenated text. */
export type Response =
  | { readonly type: 'pong' }
  | {
      readonly type: 'principal_identity';
      readonly principalId: string;
      readonly serverControlPrincipalId: string;
      readonly forceLocalPermitted: boolean;
    }
  | {
      readonly type: 'server_status';
      readonly running: boolean;
      /** Epoch 3 only; a missing snapshot is written as a disabled one. */
      readonly snapshot?: Snapshot;
      readonly principalId: string;
      readonly serverControlPrincipalId: string;
    }
  | { readonly type: 'server_stopping' }
  | { readonly type: 'hello_negotiated'; readonly negotiated: Negotiated }
  | { readonly type: 'hello_incompatible'; readonly reason: IncompatibilityReason }
  | { readonly type: 'error'; readonly code: ErrorCodeName; readonly message: string }
  /** `body`: the bytes after the index of the ResponsePayload, not decoded. */
  | { readonly type: 'other'; readonly index: number; readonly body: Uint8Array };

type KnownResponse = Exclude<Response['type'], 'other' | 'error'>;

/** Variant indexes of ResponsePayload. */
const INDEX: Record<Epoch, Record<KnownResponse, number>> = {
  3: { pong: 0, principal_identity: 1, server_status: 2, server_stopping: 9, hello_negotiated: 13, hello_incompatible: 14 },
  4: { pong: 0, principal_identity: 1, server_status: 2, server_stopping: 6, hello_negotiated: 10, hello_incompatible: 11 },
}; // oxfmt-ignore
const COUNT: Record<Epoch, number> = { 3: 15, 4: 14 };

const typeAt = (epoch: Epoch): ReadonlyMap<number, KnownResponse> =>
  new Map(Object.entries(INDEX[epoch]).map(([type, index]) => [index, type as KnownResponse]));
const TYPES: Record<Epoch, ReadonlyMap<number, KnownResponse>> = { 3: typeAt(3), 4: typeAt(4) };

const OK = 0;
const ERR = 1;

/** The payload of an answer's envelope. */
export function encodeResponse(epoch: Epoch, response: Response): Uint8Array {
  const writer = new Writer();
  if (response.type === 'error')
    return writer.varint(ERR).varint(ERROR_CODES.indexOf(response.code)).string(response.message).finish();
  writer.varint(OK);
  if (response.type === 'other') return writer.varint(response.index).raw(response.body).finish();
  writer.varint(INDEX[epoch][response.type]);
  switch (response.type) {
    case 'pong':
    case 'server_stopping':
      break;
    case 'principal_identity':
      writer.uuid(epoch, response.principalId).uuid(epoch, response.serverControlPrincipalId);
      writer.bool(response.forceLocalPermitted);
      break;
    case 'server_status':
      writer.bool(response.running);
      if (epoch === 3) writeSnapshot(writer, response.snapshot ?? NO_SNAPSHOT);
      else if (response.snapshot !== undefined)
        throw fail('frame_invalid', { why: 'a status of epoch 4 has no snapshot' });
      writer.uuid(epoch, response.principalId).uuid(epoch, response.serverControlPrincipalId);
      break;
    case 'hello_negotiated':
      writeNegotiated(writer, response.negotiated);
      break;
    case 'hello_incompatible':
      writeIncompatible(writer, response.reason);
      break;
  }
  return writer.finish();
}

/** A whole frame, its length included. */
export function encodeResponseFrame(epoch: Epoch, requestId: bigint, response: Response): Buffer {
  const payload = encodeResponse(epoch, response);
  return encodeFrame(encodeEnvelope({ version: epoch, requestId, kind: 'response', payload }));
}

/** `payload` is that of the envelope. Throws `frame_invalid`. */
export function decodeResponse(epoch: Epoch, payload: Uint8Array): Response {
  const reader = new Reader(payload);
  const response =
    reader.variant(2, 'Response') === ERR
      ? readError(reader)
      : readResponse(epoch, reader.variant(COUNT[epoch], 'ResponsePayload'), reader);
  reader.end();
  return response;
}

function readError(reader: Reader): Response {
  const code = ERROR_CODES[reader.variant(ERROR_CODES.length, 'ErrorCode')] ?? 'internal';
  return { type: 'error', code, message: reader.string() };
}

function readResponse(epoch: Epoch, index: number, reader: Reader): Response {
  const type = TYPES[epoch].get(index);
  switch (type) {
    case undefined:
      return { type: 'other', index, body: reader.rest() };
    case 'pong':
    case 'server_stopping':
      return { type };
    case 'principal_identity': {
      const principalId = reader.uuid(epoch);
      const serverControlPrincipalId = reader.uuid(epoch);
      return { type, principalId, serverControlPrincipalId, forceLocalPermitted: reader.bool() };
    }
    case 'server_status': {
      const running = reader.bool();
      const snapshot = epoch === 3 ? { snapshot: readSnapshot(reader) } : {};
      const principalId = reader.uuid(epoch);
      return { type, running, ...snapshot, principalId, serverControlPrincipalId: reader.uuid(epoch) };
    }
    case 'hello_negotiated':
      return { type, negotiated: readNegotiated(reader) };
    case 'hello_incompatible':
      return { type, reason: readIncompatible(reader) };
  }
}
