// JSON answers of the control socket and the engine sockets. `schema` is their version; fields are only added.
import type { ErrorClass, FailureData } from '../base/failure.ts';
import type { Tally } from './metrics/tally.ts';
import type { Compression, Epoch } from '../bmux-ipc/epoch.ts';

export const SCHEMA = 1;

/** How a server is reached. */
export type Transport = 'local' | 'tls' | 'iroh' | 'ssh';

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

/** What a request for a stream is doing before its stream is open. */
export type WaitStep =
  | 'planning'
  | 'taking a spare'
  | 'connecting'
  | 'protocol detection'
  | 'restart of bmuxd'
  | 'start of bmuxd';

/** The step of a waiting request, and since when, ms since 1970. */
export interface Wait {
  readonly step: WaitStep;
  readonly sinceMs: number;
}

/** The Bmux-Waiting header of a 102. Target and transport are missing until the request is planned. */
export interface Waiting extends Wait {
  readonly target?: string;
  readonly transport?: Transport;
}

/** A request for a stream that has no plan yet, in `GET /v1/streams`. */
export interface PlanningRow {
  readonly generation: string;
  readonly requestId: string;
  readonly clientPid?: number;
  readonly sinceMs: number;
}

/** One row of `GET /v1/streams`. Times are ms since 1970, counts are bytes after the Hello. */
export interface StreamRow {
  readonly id: string;
  readonly generation: string;
  readonly requestId: string;
  readonly target: string;
  readonly transport: Transport;
  readonly state: 'opening' | 'live' | 'ending';
  readonly clientName: string;
  /** Process that has connected; missing where the system does not tell. */
  readonly clientPid?: number;
  readonly sinceMs: number;
  /** What it waits for while it is `opening`. An older engine does not send it. */
  readonly waiting?: Wait;
  readonly epoch?: Epoch;
  readonly compression?: Compression;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** `GET /v1/streams/ID/end` on an engine's own socket and on the control socket. */
export interface StreamEnd {
  readonly schema: typeof SCHEMA;
  /** False when the stream is not over, or is forgotten. An older engine does not send it. */
  readonly known?: boolean;
  /** Why the client cannot rely on having everything; missing after a proper end. */
  readonly lost?: string;
}

export interface StreamList {
  readonly schema: typeof SCHEMA;
  readonly streams: readonly StreamRow[];
  /** Requests that have no plan yet; missing where there are none. */
  readonly planning?: readonly PlanningRow[];
  /** Engines that did not answer: their streams are not in the list. */
  readonly silent: readonly string[];
  /** Engines of another version, whose answer has another form: their streams are not in the list. */
  readonly otherVersion?: readonly string[];
}

/** One engine, in `GET /v1/status` and on its own socket. */
export interface EngineRow {
  readonly generation: string;
  readonly pid: number;
  readonly version: string;
  readonly sinceMs: number;
  readonly state: 'starting' | 'serving' | 'draining' | 'not answering' | 'other version';
  readonly streams: number;
}

/** One upstream in `GET /v1/status`: the state of one resolved server address. */
export interface UpstreamRow {
  readonly address: string;
  readonly target: string;
  readonly transport: Transport;
  readonly epoch?: Epoch;
  readonly compression?: Compression;
  /** `connecting`: the first stream is being opened, or a lost connection is being made again. */
  readonly state: 'cold' | 'connecting' | 'warm' | 'failing';
  /** Time of the first of the consecutive failures, ms since 1970. */
  readonly failingSinceMs?: number;
  /** Time when the last stream was opened, ms since 1970. */
  readonly lastStreamMs?: number;
  /** ms. */
  readonly roundTripMs?: number;
  /** Spares; each uses one of the server's connections. Of several targets with one address only the first that is not failing has them. */
  readonly spares: number;
  /** Connections that bmuxd holds at this server, of its limit of 64. As `spares`. */
  readonly connections: number;
  readonly warm: boolean;
  /** Since when the oldest warm connection or spare has been kept, ms since 1970. */
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
  /** What it has counted for the metrics. An older engine does not send it. */
  readonly tally?: Tally;
  /** What keeps the engine from a part of its work; missing when there is nothing. */
  readonly problems?: readonly FailureData[];
}

/** One cause of `degraded` in `GET /v1/status`: where it is, and the failure for the user. */
export interface StatusProblem {
  readonly where: string;
  readonly failure: FailureData;
}

/** Connections of a server's 64 that its TLS gateway holds although their engine has crashed. */
export interface LostConnections {
  readonly address: string;
  readonly target: string;
  readonly count: number;
  /** When the last of them was lost, ms since 1970. */
  readonly atMs: number;
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
  readonly state: 'starting' | 'ready' | 'degraded';
  /** Of the control process. */
  readonly pid: number;
  readonly version: string;
  readonly sinceMs: number;
  readonly log?: string;
  readonly start?: string;
  readonly namespace?: string;
  readonly socket: string;
  readonly engines: readonly EngineRow[];
  readonly streams: number;
  readonly contexts: readonly ContextRow[];
  readonly upstreams: readonly UpstreamRow[];
  readonly problems: readonly StatusProblem[];
  /** Missing where there are none. */
  readonly lostConnections?: readonly LostConnections[];
}

/** `GET /v1/health` on `streams.sock`: which engine accepts there. */
export interface StreamsHealth {
  readonly schema: typeof SCHEMA;
  readonly generation: string;
  readonly pid: number;
  readonly version: string;
  /** ms since 1970. */
  readonly sinceMs: number;
}

export interface Health {
  readonly schema: typeof SCHEMA;
  readonly state: 'starting' | 'ready' | 'degraded';
  readonly pid: number;
  readonly version: string;
  readonly sinceMs: number;
  /** Where the log is: `journal`, the path of a file, or `stderr`. */
  readonly log?: string;
  /** When the process was started, in ticks of the system, and the namespace in which its pid counts; missing without /proc. */
  readonly start?: string;
  readonly namespace?: string;
}

/** `GET /v1/version`: the control process and what it runs on. */
export interface Version {
  readonly schema: typeof SCHEMA;
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly arch: string;
}

export interface TargetRow {
  readonly name: string;
  readonly transport: string;
  /** The server's address: `host:port`, an endpoint id or a socket path. */
  readonly address: string;
  readonly isDefault: boolean;
  readonly failure?: FailureData;
}

export interface TargetList {
  readonly schema: typeof SCHEMA;
  readonly targets: readonly TargetRow[];
}

/** The answer to `POST /v1/login`: how a person logs in to an SSH target. */
export interface LoginAnswer {
  readonly schema: typeof SCHEMA;
  readonly target: string;
  /** The control socket at which the engines look for the connection. */
  readonly path: string;
  /** Arguments of `ssh` that make it, and of one that tells whether it is there. */
  readonly login: readonly string[];
  readonly check: readonly string[];
}

/** The target socket made by `POST /v1/target-sockets`. */
export interface TargetSocketAnswer {
  readonly schema: typeof SCHEMA;
  readonly target: string;
  /** Value for BMUX_RUNTIME_DIR. */
  readonly runtimeDir: string;
  readonly socketPath: string;
}

/** One server-sent event of `GET /v1/events`. */
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
    | 'trust changed'
    | 'engine ready'
    | 'engine gone'
    | 'target socket taken back';
  readonly target?: string;
  readonly requestId?: string;
  readonly streamId?: string;
  readonly code?: string;
  /** The class of the failure with this code. */
  readonly class?: ErrorClass;
  /** Text for the user. */
  readonly detail?: string;
}

/** Events that every stream causes. */
export const ROUTINE_EVENTS: ReadonlySet<BrokerEvent['type']> = new Set(['stream opened', 'stream over']);
