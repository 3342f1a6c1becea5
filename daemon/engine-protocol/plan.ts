// A plan: everything the engine needs to know to make a stream, as data. Control decides, the engine does.
import type { FailureData } from '../base/failure.ts';
import type { Compression, Epoch } from '../bmux-ipc/epoch.ts';
import type { RequestContract } from '../api/request-types.ts';

export interface LocalRoute {
  readonly transport: 'local';
  readonly socketPath: string;
}

export interface TlsRoute {
  readonly transport: 'tls';
  /** Name or address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** Name that the certificate must carry; checked after the TCP connect, as bmux does. */
  readonly serverName: string;
  /** PEM file that is trusted beside the system roots. */
  readonly caFile?: string;
}

export interface IrohRoute {
  readonly transport: 'iroh';
  /** As written; parsed by the engine, after the bind, as bmux does. */
  readonly endpointId: string;
  readonly relayUrl?: string;
  /** `IP:PORT` for a direct path without discovery (docs/bmux-protocol.md, "Named targets"). */
  readonly ipAddr?: string;
  readonly sshAuth: boolean;
  /** SSH_AUTH_SOCK of the caller. */
  readonly agentSocket?: string;
  /** Those of earlier callers of a target socket, the latest first: a forwarded agent goes with its login. */
  readonly earlierAgents?: readonly string[];
}

/** How to reach a target. */
export type Route = LocalRoute | TlsRoute | IrohRoute;

/** What target resolution ends with: where to go and what the target itself says about the way. */
export interface ResolvedTarget {
  /** The name that texts show: the config's name, or the inline target as written. */
  readonly label: string;
  readonly route: Route;
  /** Compression modes to try, likeliest first. Local: `['none']`. */
  readonly compression: readonly [Compression, ...Compression[]];
  /** True when the target itself named its mode (`compression=zstd|none`): that one is tried alone first. */
  readonly compressionStated: boolean;
  /** Epoch that server-meta.json's version hints at; local only. */
  readonly epochHint?: Epoch;
  /** The whole budget from plan to answered Hello, ms (docs/bmux-protocol.md, "Budget"). */
  readonly connectTimeoutMs: number;
  /** The share link that led here, as it was asked for: it may lead elsewhere at the next dial. */
  readonly link?: string;
  readonly warnings: readonly string[];
}

/** A target as a person asked for it: what a share link leads to has the label of its end, which says nothing to anybody. */
export function askedFor({
  label,
  link,
}: {
  readonly label: string;
  readonly link?: string | undefined;
}): string {
  return link ?? label;
}

/** Where a stream goes: a resolved target, in the context in which its name was looked up. */
export interface Destination extends ResolvedTarget {
  /** The resolved address (`addressOf`): the key of everything that is known about the server. */
  readonly address: string;
  /** Name of the context: in another one the same target name may lead elsewhere. */
  readonly context: string;
  /** The local runtime of the context: the text for a lost connection names it. */
  readonly runtime: { readonly name: string; readonly socket: string };
}

/** The principal of a client, or why there is none: that is an error only for a stream that needs it. */
export type Principal = { readonly id: string } | { readonly failure: FailureData };

/** For whom a stream is opened. */
export interface Client {
  readonly requestId: string;
  /** Free label for the server's log. */
  readonly name: string;
  readonly principal: Principal;
  /** What the client speaks. None: the server's own epoch, with the capabilities of a current client. */
  readonly contract?: RequestContract;
  /** True: an absent server is an answer, not a failure. */
  readonly ifRunning: boolean;
  /** What the client should read besides, as a stale build. */
  readonly warnings: readonly string[];
}

/** Everything that the engine needs to open one stream. */
export interface Plan {
  readonly destination: Destination;
  readonly client: Client;
  /** ms of the destination's budget that planning has not used up. */
  readonly budgetMs: number;
}

/** Everything that the client should read besides. */
export function warningsOf({ client, destination }: Pick<Plan, 'client' | 'destination'>): readonly string[] {
  return [...client.warnings, ...destination.warnings];
}
