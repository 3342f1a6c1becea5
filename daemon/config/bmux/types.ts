// The part of bmux's config that a broker uses, resolved: every default filled in (docs/bmux-protocol.md, "Config layers").

import type { KnownGateways } from './known-gateways.ts';

export type TargetTransport = 'local' | 'tls' | 'iroh' | 'ssh';
export type StaleBuildAction = 'ignore' | 'warn' | 'error';
export type CompressionMode = 'auto' | 'none' | 'zstd' | 'lz4';

/** One `[connections.targets.NAME]` with expanded paths. */
export interface TargetConfig {
  readonly transport: TargetTransport;
  readonly host?: string;
  readonly user?: string;
  readonly port?: number;
  readonly identityFile?: string;
  readonly knownHostsFile?: string;
  readonly caFile?: string;
  readonly serverName?: string;
  readonly endpointId?: string;
  readonly relayUrl?: string;
  readonly irohIpAddr?: string;
  readonly irohSshAuth: boolean;
  readonly strictHostKeyChecking: boolean;
  readonly jump?: string;
  readonly remoteBmuxPath: string;
  /** ms, at least 1. */
  readonly connectTimeoutMs: number;
  readonly serverStartMode: 'auto' | 'require_running';
  readonly defaultSession?: string;
}

export type TlsTrustMode = 'prompt' | 'require_known' | 'trust_new';

/** `[connections.tls_trust]`, with the store of trusted gateways. */
export interface TlsTrust {
  /** What counts for a gateway that no certificate authority verifies and that has no pin. */
  readonly mode: TlsTrustMode;
  /** Pins of the config, by `HOST:PORT`. */
  readonly declared: ReadonlyMap<string, { readonly fingerprint: string; readonly label?: string }>;
  readonly store: KnownGateways;
}

export interface BmuxConfig {
  readonly general: { /** ms; 0 in the file counts as 5000. */ readonly serverTimeoutMs: number };
  readonly connections: {
    readonly defaultTarget?: string;
    readonly controlPlaneUrl?: string;
    readonly targets: ReadonlyMap<string, TargetConfig>;
    readonly shareLinks: ReadonlyMap<string, string>;
    /** Missing: the mode `prompt`, and no pins. */
    readonly tlsTrust?: TlsTrust;
  };
  readonly behavior: {
    readonly staleBuildAction: StaleBuildAction;
    readonly compression: { readonly enabled: boolean; readonly remote: CompressionMode };
  };
}
