// The messages between control and engine on their channel. Additive only: an engine may be older than the control that it
// meets later, and newer than the one that starts it, when the package was upgraded under that.
import type { BrokerEvent } from '../api/answers.ts';
import type { Destination, Plan, Principal } from './plan.ts';
import type { Settings } from '../config/settings/table.ts';

/** What an engine gets to know at its start, in its argument. */
export interface EngineStart {
  readonly generation: string;
  readonly version: string;
  readonly socketPath: string;
  readonly stateDir: string;
  readonly settings: Settings;
  /** Control reads `together`. */
  readonly together?: true;
}

/** What comes with a client's socket. */
export interface HandedOver {
  readonly handoff: number;
  /** Its budget counts from `sentAt` on. */
  readonly plan: Plan;
  /** What was read of the socket already, base64. */
  readonly head: string;
  /** The system's monotonic clock, ms (process.hrtime): it is the same in both processes, and goes on while one of them is stopped. */
  readonly sentAt: number;
}

/** Control to engine. */
export type ToEngine =
  /** A client of the control socket. Comes with its socket. */
  | ({ readonly type: 'stream' } & HandedOver)
  /** A target socket to accept on; comes with the listening handle when it is new. Without one it renews the plan. */
  | {
      readonly type: 'target socket';
      readonly targetSocket: string;
      readonly destination: Destination;
      readonly principal: Principal;
    }
  | { readonly type: 'close target socket'; readonly targetSocket: string }
  /** Opens a stream and ends it, so that the next one finds everything warm. */
  | { readonly type: 'warm'; readonly plan: Plan }
  /** Lets go of what is warm for that target; live streams go on. */
  | { readonly type: 'drop'; readonly plan: Plan }
  | { readonly type: 'settings'; readonly settings: Settings }
  /** Connections that other engines hold, by address; they count with its own. */
  | { readonly type: 'other engines'; readonly connections: Readonly<Record<string, number>> }
  /** Another engine takes over: it accepts nothing more, and leaves after its last stream. */
  | { readonly type: 'drain' }
  /** It ends its streams gracefully and leaves. */
  | { readonly type: 'stop' };

/** Engine to control. */
export type OneFromEngine =
  | { readonly type: 'ready'; readonly generation: string }
  /** The socket has arrived; the next one may be sent. */
  | { readonly type: 'taken'; readonly handoff: number }
  /** The engine answers the client now: control lets go of its copy. */
  | { readonly type: 'settled'; readonly handoff: number }
  /** Something unexpected was thrown: it takes no more streams and finishes those it has. */
  | { readonly type: 'unwell'; readonly why: string }
  /** The plan of a target socket led nowhere: a share link may lead elsewhere by now. */
  | { readonly type: 'stale target socket'; readonly targetSocket: string }
  | { readonly type: 'event'; readonly event: BrokerEvent }
  /** One line or several, each with its end. */
  | { readonly type: 'log'; readonly line: string };

/** Engine to control: one message, or several in their order. */
export type FromEngine =
  OneFromEngine | { readonly type: 'together'; readonly messages: readonly OneFromEngine[] };

const TO_ENGINE = new Set<ToEngine['type']>([
  'stream',
  'target socket',
  'close target socket',
  'warm',
  'drop',
  'settings',
  'other engines',
  'drain',
  'stop',
]);
const FROM_ENGINE = new Set<FromEngine['type']>([
  'together',
  'ready',
  'taken',
  'settled',
  'unwell',
  'stale target socket',
  'event',
  'log',
]);

/** True for a message of a type that this version knows: all that is checked of one from our own other half. */
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
