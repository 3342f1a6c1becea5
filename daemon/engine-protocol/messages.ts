// The messages between control and engine on their channel. Fields are only ever added: after an upgrade of the package a control of one
// version may start an engine of the next.
import type { BrokerEvent } from '../api/answers.ts';
import type { Settings } from '../config/settings/table.ts';
import type { FailureData } from '../base/failure.ts';
import type { Destination, Plan, Principal } from './plan.ts';

/** What an engine is told first. It comes as a message: arguments of a process can be read by every user, and their size is limited. */
export interface EngineStart {
  readonly generation: string;
  readonly version: string;
  readonly socketPath: string;
  readonly stateDir: string;
  /** Where an engine whose control process is gone finds the next one. */
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
  /** Of the context: for what the engine asks the server by itself. */
  readonly principal: Principal;
}

/** Control to engine: one message. */
export type OneToEngine =
  | { readonly type: 'start'; readonly start: EngineStart }
  /** A socket to accept on; comes with the listening handle. Answered by `listening`. */
  | { readonly type: 'listen'; readonly id: number; readonly socket: ListenFor }
  /** A target socket leads there from now on. */
  | ({ readonly type: 'target socket'; readonly targetSocket: string } & TargetSocketPlan)
  | { readonly type: 'close target socket'; readonly targetSocket: string }
  /** The answer to `resolve` or `resolve again`. */
  | { readonly type: 'resolved'; readonly id: number; readonly result: Resolved }
  /** Opens a stream and ends it, so that the next one finds everything warm. */
  | { readonly type: 'warm'; readonly plan: Plan }
  /** Closes what is warm for that target; live streams go on. */
  | { readonly type: 'drop'; readonly plan: Plan }
  | { readonly type: 'settings'; readonly settings: Settings }
  /** Connections that other engines hold, by address; they count with its own. */
  | { readonly type: 'other engines'; readonly connections: Readonly<Record<string, number>> }
  /** Another engine takes over: it accepts nothing more, and leaves after its last stream. */
  | { readonly type: 'drain' }
  /** It ends its streams gracefully and leaves. */
  | { readonly type: 'stop' };

/** Control to engine: one message, or several in their order. None of a batch comes with a handle. */
export type ToEngine = OneToEngine | { readonly type: 'batch'; readonly messages: readonly OneToEngine[] };

/** What control has made of a request for a stream, or of a target socket whose destination is out of reach. */
export type Resolved =
  { readonly plan: Plan } | { readonly destination: Destination } | { readonly failure: FailureData };

/** Engine to control: one message. */
export type OneFromEngine =
  | { readonly type: 'ready'; readonly generation: string }
  /** It accepts on the socket that came with that `listen`. */
  | { readonly type: 'listening'; readonly id: number }
  /** A request for a stream: the text of its Bmux-Request header, undefined where it has none. Answered by `resolved` with a plan. */
  | { readonly type: 'resolve'; readonly id: number; readonly requestId: string; readonly header?: string }
  /** The destination of a target socket is out of reach: its share link may lead elsewhere by now. Answered by `resolved` with a destination. */
  | { readonly type: 'resolve again'; readonly id: number; readonly targetSocket: string }
  /** Nobody waits for that answer any more. */
  | { readonly type: 'cancel'; readonly id: number }
  /** It takes no more streams and finishes those it has. */
  | { readonly type: 'retiring'; readonly why: string }
  | { readonly type: 'event'; readonly event: BrokerEvent }
  /** One line or several, each with its end. */
  | { readonly type: 'log'; readonly line: string };

/** Engine to control: one message, or several in their order. */
export type FromEngine =
  OneFromEngine | { readonly type: 'batch'; readonly messages: readonly OneFromEngine[] };

const TO_ENGINE = new Set<ToEngine['type']>([
  'batch',
  'start',
  'listen',
  'target socket',
  'close target socket',
  'resolved',
  'warm',
  'drop',
  'settings',
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
  'event',
  'log',
]);

/** True for a message of a type that this version knows. An unknown one comes from a later version and is left out. */
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
