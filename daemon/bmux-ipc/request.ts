// Client requests: those that the broker sends or reads are decoded, all others stay an index and bytes (docs/bmux-protocol.md, "Requests").
import { Reader, Writer } from './codec.ts';
import { readContract, writeContract, type Contract } from './contract.ts';
import { encodeEnvelope } from './envelope.ts';
import { fail } from '../errors/fail.ts';
import { encodeFrame } from './frame.ts';
import type { Epoch } from './epoch.ts';

export type Request =
  | {
      /** HelloV2 of epoch 3, Hello of epoch 4. */
      readonly type: 'hello';
      readonly contract: Contract;
      readonly clientName: string;
      /** Hyphenated text. */
      readonly principalId: string;
    }
  | {
      /** The Hello from before contracts existed, epoch 3 only; servers answer it with an error. */
      readonly type: 'hello_old';
      readonly version: number;
      readonly clientName: string;
      readonly principalId: string;
    }
  | { readonly type: 'ping' }
  | { readonly type: 'whoami' }
  | { readonly type: 'server_status' }
  | { readonly type: 'server_stop' }
  /** `body`: the bytes after the variant index, not decoded. */
  | { readonly type: 'other'; readonly index: number; readonly body: Uint8Array };

type KnownRequest = Exclude<Request['type'], 'other'>;

/** Variant indexes. The same number can mean different requests in the two epochs. */
const INDEX: Record<Epoch, Partial<Record<KnownRequest, number>>> = {
  3: { hello_old: 0, ping: 1, whoami: 2, server_status: 3, server_stop: 7, hello: 14 },
  4: { hello: 0, ping: 1, whoami: 2, server_status: 3, server_stop: 4 },
};
const COUNT: Record<Epoch, number> = { 3: 15, 4: 13 };

const typeAt = (epoch: Epoch): ReadonlyMap<number, KnownRequest> =>
  new Map(Object.entries(INDEX[epoch]).map(([type, index]) => [index, type as KnownRequest]));
const TYPES: Record<Epoch, ReadonlyMap<number, KnownRequest>> = { 3: typeAt(3), 4: typeAt(4) };

/** The payload of a request's envelope. */
export function encodeRequest(epoch: Epoch, request: Request): Uint8Array {
  const writer = new Writer();
  if (request.type === 'other') return writer.varint(request.index).raw(request.body).finish();
  const index = INDEX[epoch][request.type];
  if (index === undefined)
    throw fail('frame_invalid', { why: `epoch ${epoch} has no request ${request.type}` });
  writer.varint(index);
  if (request.type === 'hello') {
    writeContract(writer, request.contract);
    writer.string(request.clientName).uuid(epoch, request.principalId);
  } else if (request.type === 'hello_old') {
    writer.varint(request.version).string(request.clientName).uuid(epoch, request.principalId);
  }
  return writer.finish();
}

/** A whole frame, its length included. */
export function encodeRequestFrame(epoch: Epoch, requestId: bigint, request: Request): Buffer {
  const payload = encodeRequest(epoch, request);
  return encodeFrame(encodeEnvelope({ version: epoch, requestId, kind: 'request', payload }));
}

/** `payload` is that of the envelope. Throws `frame_invalid` where a server of that epoch would fail to parse it. */
export function decodeRequest(epoch: Epoch, payload: Uint8Array): Request {
  const reader = new Reader(payload);
  const index = reader.variant(COUNT[epoch], 'Request');
  const request = readRequest(epoch, index, reader);
  reader.end();
  return request;
}

function readRequest(epoch: Epoch, index: number, reader: Reader): Request {
  const type = TYPES[epoch].get(index);
  switch (type) {
    case undefined:
      return { type: 'other', index, body: reader.rest() };
    case 'hello': {
      const contract = readContract(reader);
      return { type, contract, clientName: reader.string(), principalId: reader.uuid(epoch) };
    }
    case 'hello_old':
      return { type, version: reader.u16(), clientName: reader.string(), principalId: reader.uuid(epoch) };
    case 'ping':
    case 'whoami':
    case 'server_status':
    case 'server_stop':
      return { type };
  }
}
