// Types of a request for a stream. No package imports: programs that use the client library must not need the types of a validator.
import type { CallerEnv } from './caller-env.ts';

/** The contract of a client (docs/bmux-protocol.md, "Contract"). Missing fields get the values of a current client. */
export interface RequestContract {
  readonly epoch: 3 | 4;
  readonly revisions?: { readonly min: number; readonly max: number };
  readonly capabilities?: readonly string[];
}

/** Scopes (docs/bmux-protocol.md, "Entry points"). */
export type Scope = 'normal' | 'recovery_inspection';

export type UnknownTarget = 'local' | 'refuse';

/** Every field is optional. `policy: false` is bmux's connect_raw. Without `env`, the daemon uses its own context. */
export interface StreamRequest {
  readonly target?: string;
  readonly scope?: Scope;
  readonly policy?: boolean;
  /** What a target that is no address and not configured means: the local server, as for bmux, or a failure. */
  readonly unknownTarget?: UnknownTarget;
  readonly ifRunning?: boolean;
  readonly clientName?: string;
  readonly contract?: RequestContract;
  readonly buildId?: string;
  readonly slot?: string;
  readonly cwd?: string;
  readonly env?: CallerEnv;
}
