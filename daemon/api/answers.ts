// What the control socket and the engine sockets answer. Versioned by `schema`, additive only.
import type { FailureData } from '../base/failure.ts';
import type { ErrorClass } from '../errors/error-class.ts';
import type { Compression, Epoch } from '../bmux-ipc/epoch.ts';

export const SCHEMA = 1;

/** How a server is reached. */
export type Transport = 'local' | 'tls' | 'iroh';

/** The Bmux-Stream header of a 101. */
export interface StreamInfo {
  readonly id: string;
  readonly target: string;
  readonly transport: Transport;
  readonly epoch: Epoch;
  readonly negotiated: { readonly revision: number; readonly capabilities: readonly string[] };
  /** True when no dial was needed. */
  readonly warm: boolean;
  readonly warnings: readonly string[];
}

/** One row of `GET /v1/streams`. Times are ms since the epoch, counts are bytes after the Hello. */
export interface StreamRow {
  readonly id: string;
  readonly generation: string;
  readonly requestId: string;
  readonly target: string;
  readonly transport: Transport;
  readonly state: 'opening' | 'live' | 'ending';
  readonly clientName: string;
  readonly sinceMs: number;
  readonly epoch?: Epoch;
  readonly compression?: Compression;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** `GET /v1/streams/ID/end` on an engine's own socket. */
export interface StreamEnd {
  readonly schema: typeof SCHEMA;
  /** Why the stream broke; absent when it did not, and when nothing is known of it any more. */
  readonly lost?: string;
}

export interface StreamList {
  readonly schema: typeof SCHEMA;
  readonly streams: readonly StreamRow[];
  /** Engines that did not answer: their streams are not in the list. */
  readonly silent: readonly string[];
}

/** One engine, in `GET /v1/status` and on its own socket. */
export interface EngineRow {
  readonly generation: string;
  readonly pid: number;
  readonly version: string;
  readonly sinceMs: number;
  readonly state: 'starting' | 'serving' | 'draining' | 'not answering';
  readonly streams: number;
}

/** What is known of one way to a server: `GET /v1/status`, per resolved address. */
export interface UpstreamRow {
  readonly address: string;
  readonly target: string;
  readonly transport: Transport;
  readonly epoch?: Epoch;
  readonly compression?: Compression;
  /** `connecting`: the first stream, or the connection that was lost, is just being made. */
  readonly state: 'cold' | 'connecting' | 'warm' | 'failing';
  /** ms since the epoch: the first of the failures in a row. */
  readonly failingSinceMs?: number;
  /** ms since the epoch: the last stream that was opened. */
  readonly lastStreamMs?: number;
  /** ms. */
  readonly roundTripMs?: number;
  /** Streams that are ready, each one of the places. */
  readonly spares: number;
  /** Connections that we hold at that server, of its 64. */
  readonly connections: number;
  readonly warm: boolean;
  /** ms since the epoch: since when what is warm has been kept, the oldest of it. */
  readonly warmSinceMs?: number;
  /** Live streams. */
  readonly streams: number;
  readonly lastError?: {
    readonly code: string;
    readonly class: ErrorClass;
    readonly detail: string;
    readonly atMs: number;
  };
}

export interface EngineStatus {
  readonly schema: typeof SCHEMA;
  readonly engine: EngineRow;
  readonly upstreams: readonly UpstreamRow[];
}

/** A thing that is not well, for `GET /v1/status`: where, and what a person reads. */
export interface StatusProblem {
  readonly where: string;
  readonly failure: FailureData;
}

export interface ContextRow {
  readonly key: string;
  readonly runtimeDir: string;
  readonly slot?: string;
  readonly files: readonly string[];
  readonly targets: number;
}

export interface Status {
  readonly schema: typeof SCHEMA;
  readonly state: 'ready' | 'degraded';
  /** Of the control process. */
  readonly pid: number;
  readonly version: string;
  readonly sinceMs: number;
  readonly socket: string;
  readonly engines: readonly EngineRow[];
  readonly streams: number;
  readonly contexts: readonly ContextRow[];
  readonly upstreams: readonly UpstreamRow[];
  readonly problems: readonly StatusProblem[];
}

/** `GET /v1/health` on `streams.sock`: which engine accepts there. */
export interface StreamsHealth {
  readonly schema: typeof SCHEMA;
  readonly generation: string;
  readonly pid: number;
  readonly version: string;
  /** ms since the epoch. */
  readonly sinceMs: number;
}

export interface Health {
  readonly schema: typeof SCHEMA;
  readonly state: 'ready' | 'degraded';
  readonly pid: number;
  readonly version: string;
  readonly sinceMs: number;
}

export interface TargetRow {
  readonly name: string;
  readonly transport: string;
  /** Where it leads: `host:port`, an endpoint id, a socket path. */
  readonly address: string;
  readonly isDefault: boolean;
  readonly failure?: FailureData;
}

export interface TargetList {
  readonly schema: typeof SCHEMA;
  readonly targets: readonly TargetRow[];
}

/** A target socket: `POST /v1/target-sockets`. */
export interface TargetSocketAnswer {
  readonly schema: typeof SCHEMA;
  readonly target: string;
  /** What BMUX_RUNTIME_DIR is set to. */
  readonly runtimeDir: string;
  readonly socketPath: string;
}

/** Something that happened: one server-sent event of `GET /v1/events`. */
export interface BrokerEvent {
  readonly atMs: number;
  readonly type:
    | 'stream opened'
    | 'stream over'
    | 'stream refused'
    | 'optimistic open failed'
    | 'connection lost'
    | 'connection made'
    | 'connection failed'
    | 'network changed'
    | 'config changed'
    | 'config broken'
    | 'engine ready'
    | 'engine gone'
    | 'target socket taken back';
  readonly target?: string;
  readonly requestId?: string;
  readonly streamId?: string;
  readonly code?: string;
  /** What a person reads. */
  readonly detail?: string;
}

/** Events that come with every stream. */
export const ROUTINE_EVENTS: ReadonlySet<BrokerEvent['type']> = new Set(['stream opened', 'stream over']);
