// A plan: everything that the engine needs to know to open a stream, as data. Control makes it, and the engine carries it out.
import type { FailureData } from '../base/failure.ts';
import { withoutCredentials } from '../base/redact.ts';
import type { Compression, Epoch } from '../bmux-ipc/epoch.ts';
import type { RequestContract } from '../api/request-types.ts';

export interface LocalRoute {
  readonly transport: 'local';
  readonly socketPath: string;
}

export interface TlsRoute {
  readonly transport: 'tls';
  /** DNS name or IP address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** Name that the certificate must have. It is checked after the TCP connect, in the same order as in bmux. */
  readonly serverName: string;
  /** PEM file with roots that are trusted in addition to those of the system. */
  readonly caFile?: string;
  /** How a gateway is trusted that no certificate authority verifies. Missing: not at all. */
  readonly trust?: GatewayTrust;
}

/** Trust in one gateway (docs/bmux-protocol.md, "Certificate pins"). */
export interface GatewayTrust {
  readonly mode: 'prompt' | 'require_known' | 'trust_new';
  readonly pin?: {
    readonly fingerprint: string;
    readonly from: 'declarative config' | 'local known-gateways store';
  };
  /** The store of pins. */
  readonly store: string;
  /** Why the store cannot be read, where it may hold the pin. */
  readonly problem?: FailureData;
}

export interface IrohRoute {
  readonly transport: 'iroh';
  /** The id as written. The engine parses it after the bind, in the same order as bmux. */
  readonly endpointId: string;
  readonly relayUrl?: string;
  /** `IP:PORT` for a direct path without discovery (docs/bmux-protocol.md, "Named targets"). */
  readonly ipAddr?: string;
  readonly sshAuth: boolean;
  /** SSH_AUTH_SOCK of the client. */
  readonly agentSocket?: string;
  /** SSH_AUTH_SOCK of earlier clients of a target socket, the latest first. A forwarded agent ends with its login session. */
  readonly earlierAgents?: readonly string[];
}

/** The fields of an SSH target. The system's ssh reads the user's ssh_config for all that they leave open. */
export interface SshRoute {
  readonly transport: 'ssh';
  /** A host name, an IP address (IPv6 without brackets), or an alias of ssh_config. */
  readonly host: string;
  readonly user?: string;
  readonly port?: number;
  /** As `ssh -i` takes it, and with `%%` as `IdentityFile` does. */
  readonly identityFile?: string;
  /** As `UserKnownHostsFile` of ssh takes it: one or more files. */
  readonly knownHostsFile?: string;
  readonly strictHostKeyChecking: boolean;
  /** As `ssh -J` takes it. */
  readonly jump?: string;
  /** The first words of the command that runs there: the shell there reads them. */
  readonly remoteBmuxPath: string;
  /** True when a server is started there if none runs. */
  readonly startsServer: boolean;
  /** SSH_AUTH_SOCK of the client. */
  readonly agentSocket?: string;
  /** KRB5CCNAME of the client: where its Kerberos tickets are. */
  readonly tickets?: string;
  /** As in `IrohRoute`. */
  readonly earlierAgents?: readonly string[];
}

/** How to reach a target. */
export type Route = LocalRoute | TlsRoute | IrohRoute | SshRoute;

/** The result of target resolution: a route, and what the target itself says about it. */
export interface ResolvedTarget {
  /** The name that error texts show: the name in the config, or the inline target as written. */
  readonly label: string;
  readonly route: Route;
  /** Compression modes to try, the likeliest first. For a local target: `['none']`. */
  readonly compression: readonly [Compression, ...Compression[]];
  /** True when the target names its mode (`compression=zstd|none`). That mode is tried alone first. */
  readonly compressionStated: boolean;
  /** The likely epoch, from the version in server-meta.json. For local targets only. */
  readonly epochHint?: Epoch;
  /** ms from the start of planning to the answer to the Hello (docs/bmux-protocol.md, "Budget"). */
  readonly connectTimeoutMs: number;
  /** The share link that was resolved to this target, as written. It may lead elsewhere at the next dial. */
  readonly link?: string;
  readonly warnings: readonly string[];
}

/** The target as the user asked for it: the share link where there is one. The label of its destination means nothing to the user. */
export function askedFor({
  label,
  link,
}: {
  readonly label: string;
  readonly link?: string | undefined;
}): string {
  return link ?? label;
}

/** Where a stream goes: a resolved target, with the context in which its name was looked up. */
export interface Destination extends ResolvedTarget {
  /** The result of `addressOf`: the key of everything that is known about the server. */
  readonly address: string;
  /** Name of the context. In another context the same target name may lead elsewhere. */
  readonly context: string;
  /** The local runtime of the context. The error text for a lost connection names it. */
  readonly runtime: { readonly name: string; readonly socket: string };
}

/** The principal of a client, or why it could not be read. The failure matters only to a stream that needs the principal. */
export type Principal = { readonly id: string } | { readonly failure: FailureData };

/** For whom a stream is opened. */
export interface Client {
  readonly requestId: string;
  /** Any text; the server writes it to its log. */
  readonly name: string;
  readonly principal: Principal;
  /** The contract that the client speaks. Undefined: the server's own epoch, with the capabilities of a current client. */
  readonly contract?: RequestContract;
  /** True when "nothing there" is a valid answer, not a failure (docs/bmux-protocol.md, "Entry points"). */
  readonly ifRunning: boolean;
  /** True for a client of a target socket: it learns why it gets no answer only by an answer of bmux's protocol. */
  readonly toldByAnswer?: boolean;
  /** Variables of the caller that name system roots, `NAME=VALUE`, where the daemon has others. They do not count. */
  readonly otherRoots?: readonly string[];
  /** Warnings for the client, for example about a stale build. */
  readonly warnings: readonly string[];
}

/** Everything that the engine needs to open one stream. */
export interface Plan {
  readonly destination: Destination;
  readonly client: Client;
  /** What planning has left of the destination's `connectTimeoutMs`, in ms. */
  readonly budgetMs: number;
}

/** All warnings for the client: its own and those of the destination. They quote targets, so credentials are removed. */
export function warningsOf({ client, destination }: Pick<Plan, 'client' | 'destination'>): readonly string[] {
  return [...client.warnings, ...destination.warnings].map(withoutCredentials);
}
