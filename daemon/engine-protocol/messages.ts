// The messages between control and engine on their IPC channel. Both are of one version: control starts no engine of another one
// (daemon/control/installed-package.ts). Fields are only added all the same, because the files may be replaced during a start.
import type { BrokerEvent } from '../api/answers.ts';
import type { Tally } from '../api/metrics/tally.ts';
import type { Settings } from '../config/settings/table.ts';
import type { FailureData } from '../base/failure.ts';
import type { Destination, Plan, Principal } from './plan.ts';

/**
 * The content of the first message to an engine. It is no command-line argument, because every user can read the arguments of a process
 * and their size is limited.
 */
export interface EngineStart {
  readonly generation: string;
  readonly version: string;
  readonly socketPath: string;
  readonly stateDir: string;
  /** Path of the control socket. When the engine's control process is gone, the next one answers there. */
  readonly controlSocket: string;
  readonly settings: Settings;
}

/** What the engine accepts on a listening socket. */
export type ListenFor =
  /** Requests for streams, over HTTP. */
  | { readonly kind: 'streams' }
  /** Clients that speak bmux's own protocol to one destination. */
  | ({ readonly kind: 'target'; readonly targetSocket: string } & TargetSocketPlan);

/** Where the clients of a target socket go. */
export interface TargetSocketPlan {
  readonly destination: Destination;
  /** Principal of the context, for requests that the engine itself sends to the server. */
  readonly principal: Principal;
}

/** What has changed in the trust of one context. */
export interface TrustChange {
  /** Path of the store of known gateways. */
  readonly store: string;
  /** `HOST:PORT` of gateways whose pin was removed or is another now. */
  readonly gateways: readonly string[];
}

/** Control to engine: one message. */
export type OneToEngine =
  | { readonly type: 'start'; readonly start: EngineStart }
  /** A socket to accept on. The message carries its handle. The answer is `listening`. */
  | { readonly type: 'listen'; readonly id: number; readonly socket: ListenFor }
  /** Replaces where a target socket leads. */
  | ({ readonly type: 'target socket'; readonly targetSocket: string } & TargetSocketPlan)
  | { readonly type: 'close target socket'; readonly targetSocket: string }
  /** The answer to `resolve` or `resolve again`. */
  | { readonly type: 'resolved'; readonly id: number; readonly result: Resolved }
  /** Asks for a stream that is opened and ended, so that the next one finds warm connections. */
  | { readonly type: 'warm'; readonly plan: Plan }
  /** The same, but nothing is kept for the target: the engine has then loaded what a stream needs. */
  | { readonly type: 'try'; readonly plan: Plan }
  /** Closes warm connections and spares of this target. Live streams go on. */
  | { readonly type: 'drop'; readonly plan: Plan }
  | { readonly type: 'settings'; readonly settings: Settings }
  /** CA files and the system's roots are read again at their next use, whatever their stamps say. */
  | { readonly type: 'read again' }
  /** Pins of gateways, or what counts without one, have changed: spares of TLS targets are ended, and live streams named. */
  | ({ readonly type: 'trust changed' } & TrustChange)
  /** Connections that other engines hold, by address. They count toward the server's limit together with the engine's own. */
  | { readonly type: 'other engines'; readonly connections: Readonly<Record<string, number>> }
  /** Another engine takes over: the engine stops accepting, and exits after its last stream. */
  | { readonly type: 'drain' }
  /** The engine ends its streams gracefully and exits. */
  | { readonly type: 'stop'; readonly who: string };

/** Control to engine: one message, or several in their order. A message with a handle is never in a batch. */
export type ToEngine = OneToEngine | { readonly type: 'batch'; readonly messages: readonly OneToEngine[] };

/** Control's answer: a plan to `resolve`, a destination to `resolve again`, or a failure to either. */
export type Resolved =
  | { readonly plan: Plan }
  | { readonly destination: Destination }
  | { readonly failure: FailureData };

/** Engine to control: one message. */
export type OneFromEngine =
  | { readonly type: 'ready'; readonly generation: string }
  /** The engine accepts on the socket of the `listen` with this id. */
  | { readonly type: 'listening'; readonly id: number }
  /** A request for a stream. `header` is the text of its Bmux-Request header, if any. The answer is `resolved` with a plan. */
  | { readonly type: 'resolve'; readonly id: number; readonly requestId: string; readonly header?: string }
  /** Asks where the share link of a target socket leads now. The answer is `resolved` with a destination. */
  | { readonly type: 'resolve again'; readonly id: number; readonly targetSocket: string }
  /** The answer to the question with this id is no longer needed. */
  | { readonly type: 'cancel'; readonly id: number }
  /** The engine accepts no more streams, and finishes those that it has. */
  | { readonly type: 'retiring'; readonly why: string }
  /** Sent every `LIMITS.heartbeatMs`: what `GET /v1/engine` on the engine's socket answers; nothing when that is the same as in the last one. */
  | { readonly type: 'alive'; readonly status?: unknown }
  | { readonly type: 'event'; readonly event: BrokerEvent }
  /** What the engine has counted until its end. */
  | { readonly type: 'tally'; readonly tally: Tally }
  /** One or more log lines, each with its newline. */
  | { readonly type: 'log'; readonly line: string };

/** Engine to control: one message, or several in their order. */
export type FromEngine =
  | OneFromEngine
  | { readonly type: 'batch'; readonly messages: readonly OneFromEngine[] };

const TO_ENGINE = new Set<ToEngine['type']>([
  'batch',
  'start',
  'listen',
  'target socket',
  'close target socket',
  'resolved',
  'warm',
  'try',
  'drop',
  'settings',
  'read again',
  'trust changed',
  'other engines',
  'drain',
  'stop',
]);
const FROM_ENGINE = new Set<FromEngine['type']>([
  'batch',
  'ready',
  'listening',
  'resolve',
  'resolve again',
  'cancel',
  'retiring',
  'alive',
  'event',
  'tally',
  'log',
]);

/** True for a message of a type that this version knows. Messages of other types come from a later version and are ignored. */
export function isToEngine(message: unknown): message is ToEngine {
  return isOneOf(message, TO_ENGINE);
}

export function isFromEngine(message: unknown): message is FromEngine {
  return isOneOf(message, FROM_ENGINE);
}

function isOneOf(message: unknown, types: ReadonlySet<string>): boolean {
  return (
    typeof message === 'object' &&
    message !== null &&
    'type' in message &&
    typeof message.type === 'string' &&
    types.has(message.type)
  );
}
