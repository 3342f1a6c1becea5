// Protocol contracts: what a client and a server support, and how a server negotiates what both share (docs/bmux-protocol.md, "Contract" and "Negotiation").
import type { Reader, Writer } from './codec.ts';
import type { Epoch } from './epoch.ts';

/** ProtocolContract. `epoch` can be any u16, because a peer may send an epoch that does not exist. */
export interface Contract {
  readonly epoch: number;
  readonly revisions: { readonly min: number; readonly max: number };
  readonly capabilities: readonly string[];
}

/** NegotiatedProtocol: what a server answers to a Hello that it accepts. `capabilities` is sorted. */
export interface Negotiated {
  readonly wireEpoch: number;
  readonly revision: number;
  readonly capabilities: string[];
}

/** Why a server refuses a Hello. */
export type IncompatibilityReason =
  | { readonly type: 'wire_epoch_mismatch'; readonly client: number; readonly server: number }
  | {
      readonly type: 'no_common_revision';
      readonly clientMin: number;
      readonly clientMax: number;
      readonly serverMin: number;
      readonly serverMax: number;
    }
  | { readonly type: 'missing_core_capabilities'; readonly missing: readonly string[] };

/** Core capabilities: a server refuses a client that lacks one of them. */
export const REQUIRED_CAPABILITIES: Record<Epoch, readonly string[]> = {
  3: ['core.session', 'core.attach', 'core.pane_io', 'core.detach', 'feature.control_catalog_sync'],
  4: ['core.control', 'core.service_invocation', 'core.event_stream', 'core.lifecycle'],
};

const COMPRESSION = ['compression.payload.zstd', 'compression.transport.zstd', 'compression.payload.lz4'];

const ADVERTISED: Record<Epoch, readonly string[]> = {
  3: [
    'core.session',
    'core.attach',
    'core.pane_io',
    'core.detach',
    'feature.contexts',
    'feature.attach_snapshot',
    'feature.attach_pane_snapshot',
    'feature.control_catalog_sync',
    'feature.recording.v4',
    ...COMPRESSION,
  ],
  4: [...REQUIRED_CAPABILITIES[4], ...COMPRESSION],
};

/** The contract of a current client, with the capabilities in the order in which it sends them. */
export function defaultContract(epoch: Epoch): Contract {
  return { epoch, revisions: { min: 1, max: 1 }, capabilities: ADVERTISED[epoch] };
}

export function writeContract(writer: Writer, contract: Contract): void {
  writer.varint(contract.epoch).varint(contract.revisions.min).varint(contract.revisions.max);
  writer.vec(contract.capabilities, (name) => writer.string(name));
}

export function readContract(reader: Reader): Contract {
  const epoch = reader.u16();
  const revisions = { min: reader.u32(), max: reader.u32() };
  return { epoch, revisions, capabilities: reader.vec(() => reader.string()) };
}

/**
 * Negotiates as a server does on a Hello: it checks epoch, revision and core capabilities, in this order. The revision is
 * the highest that both sides support, the capabilities are the sorted intersection.
 */
export function negotiate(
  server: Contract,
  client: Contract,
  required: readonly string[],
): { readonly negotiated: Negotiated } | { readonly incompatible: IncompatibilityReason } {
  if (client.epoch !== server.epoch)
    return { incompatible: { type: 'wire_epoch_mismatch', client: client.epoch, server: server.epoch } };
  const revision = Math.min(client.revisions.max, server.revisions.max);
  if (revision < Math.max(client.revisions.min, server.revisions.min))
    return {
      incompatible: {
        type: 'no_common_revision',
        clientMin: client.revisions.min,
        clientMax: client.revisions.max,
        serverMin: server.revisions.min,
        serverMax: server.revisions.max,
      },
    };
  const offered = new Set(client.capabilities);
  const shared = new Set(server.capabilities.filter((name) => offered.has(name)));
  const missing = required.filter((name) => !shared.has(name));
  if (missing.length > 0) return { incompatible: { type: 'missing_core_capabilities', missing } };
  return { negotiated: { wireEpoch: server.epoch, revision, capabilities: [...shared].sort() } };
}
