// A request for a stream as types alone. No package imports: a program that uses the client library must not need a validator's types.
import type { CallerEnv } from './caller-env.ts';

/** What a client can speak (docs/bmux-protocol.md, "Contract"). What is left out is that of a current client. */
export interface RequestContract {
  readonly epoch: 3 | 4;
  readonly revisions?: { readonly min: number; readonly max: number };
  readonly capabilities?: readonly string[];
}

/** Scopes (docs/bmux-protocol.md, "Entry points"). */
export type Scope = 'normal' | 'recovery_inspection';

/** Every field is optional. `policy: false` is bmux's connect_raw. No `env`: the daemon's own context. */
export interface StreamRequest {
  readonly target?: string;
  readonly scope?: Scope;
  readonly policy?: boolean;
  readonly ifRunning?: boolean;
  readonly clientName?: string;
  readonly contract?: RequestContract;
  readonly buildId?: string;
  readonly slot?: string;
  readonly cwd?: string;
  readonly env?: CallerEnv;
}
