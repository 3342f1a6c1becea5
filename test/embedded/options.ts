// Options, commands and messages of the embedded process: JSON on its command line and its standard streams.
import type { EmbeddedServerOptions, EmbeddedServerStats } from './server/server.ts';

export interface EmbeddedOptions {
  /** Absent: no server is started, and gateways find no server at `socketPath`. */
  readonly server?: Omit<EmbeddedServerOptions, 'socketPath'>;
  readonly socketPath: string;
  readonly tls?: {
    readonly listen?: { readonly host: string; readonly port: number };
    readonly compression: 'zstd' | 'none';
    readonly forgiving?: boolean;
    /** Round trip that a proxy in front of the gateway simulates, ms; default: no proxy. */
    readonly roundTripMs?: number;
  };
  readonly iroh?: {
    readonly relays: 'disabled' | readonly string[];
    readonly compression: 'zstd' | 'none';
    readonly allowedKeys?: readonly string[];
    readonly bindAddr?: string;
    readonly forgiving?: boolean;
  };
}

/** The first line on stdout: everything listens. */
export interface EmbeddedAddresses {
  readonly pid: number;
  readonly socketPath: string;
  readonly tls?: {
    readonly host: string;
    readonly port: number;
    /** PEM; write it to a file for `ca_file`. */
    readonly certPem: string;
    readonly fingerprint: string;
  };
  readonly iroh?: {
    readonly endpointId: string;
    readonly address: string;
    readonly relayUrl?: string;
    readonly url: string;
  };
}

/** Commands while it runs. Each is a line `{id, do, ...}` on stdin, answered by a line `{id, value | error}`. */
export type EmbeddedCommand =
  | { readonly do: 'status' }
  | { readonly do: 'hold' }
  | { readonly do: 'release' }
  | { readonly do: 'drop-all' }
  | { readonly do: 'stop-server' }
  /** Ends the server if there is one, and starts another on the same path. */
  | { readonly do: 'start-server'; readonly server: Omit<EmbeddedServerOptions, 'socketPath'> }
  | { readonly do: 'set-capabilities'; readonly capabilities: readonly string[] | null }
  | { readonly do: 'set-compression'; readonly mode: 'zstd' | 'none' }
  | { readonly do: 'drop-iroh-connections' }
  | { readonly do: 'blackhole' }
  | { readonly do: 'restore' };

export interface EmbeddedStatus {
  /** Connections that the server holds now, including those that a gateway lost. */
  readonly connections: number;
  readonly server: EmbeddedServerStats | null;
  readonly tls: { readonly accepted: number; readonly truncated: number; readonly resumed: number } | null;
  readonly iroh: {
    readonly connections: number;
    readonly streams: number;
    readonly refused: number;
    readonly live: number;
  } | null;
}
