// The bytes of the two answers to a Hello: NegotiatedProtocol and IncompatibilityReason (docs/bmux-protocol.md, "Negotiation" and "Incompatibility reasons").
import type { Reader, Writer } from './codec.ts';
import type { IncompatibilityReason, Negotiated } from './contract.ts';

export function writeNegotiated(writer: Writer, negotiated: Negotiated): void {
  writer.varint(negotiated.wireEpoch).varint(negotiated.revision);
  writer.vec(negotiated.capabilities, (name) => writer.string(name));
}

export function readNegotiated(reader: Reader): Negotiated {
  const wireEpoch = reader.u16();
  const revision = reader.u32();
  return { wireEpoch, revision, capabilities: reader.vec(() => reader.string()) };
}

export function writeIncompatible(writer: Writer, reason: IncompatibilityReason): void {
  switch (reason.type) {
    case 'wire_epoch_mismatch':
      writer.varint(0).varint(reason.client).varint(reason.server);
      break;
    case 'no_common_revision':
      writer.varint(1).varint(reason.clientMin).varint(reason.clientMax);
      writer.varint(reason.serverMin).varint(reason.serverMax);
      break;
    case 'missing_core_capabilities':
      writer.varint(2).vec(reason.missing, (name) => writer.string(name));
      break;
  }
}

export function readIncompatible(reader: Reader): IncompatibilityReason {
  const index = reader.variant(3, 'IncompatibilityReason');
  if (index === 0) return { type: 'wire_epoch_mismatch', client: reader.u16(), server: reader.u16() };
  if (index === 2) return { type: 'missing_core_capabilities', missing: reader.vec(() => reader.string()) };
  const [clientMin, clientMax] = [reader.u32(), reader.u32()];
  return {
    type: 'no_common_revision',
    clientMin,
    clientMax,
    serverMin: reader.u32(),
    serverMax: reader.u32(),
  };
}
