// Inputs of target resolution. All are data of one request and its context; no globals are read.
import type { BmuxPaths } from '../base/paths.ts';
import type { BmuxConfig } from '../config/bmux/types.ts';
import type { CallerEnv } from '../api/request.ts';
import type { HttpGet } from './http/client.ts';

/** Compression of a stream to a target; `auto` follows behavior.compression of the config. */
export type CompressionSetting = 'auto' | 'zstd' | 'none';

/** Limits and functions for a lookup at the control plane. */
export interface LookupLimits {
  /** Limit of the whole lookup, ms, including redirects and the answer's body. */
  readonly timeoutMs: number;
  /** Aborted when the request ends; the lookup then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Sends the request, by a proxy where the environment names one. */
  readonly get: HttpGet;
}

/** Inputs from which a route is made, once the target is known. */
export interface RouteInputs {
  readonly env: CallerEnv;
  /** Absolute folder against which the caller's relative paths are resolved. */
  readonly cwd: string;
  readonly config: BmuxConfig;
  readonly paths: Pick<BmuxPaths, 'serverSocket' | 'authState'>;
  /** bmuxd's own compression settings, by the target's name (an inline target: as written). They override the target's. */
  readonly overrides?: ReadonlyMap<string, CompressionSetting> | undefined;
  /** True when the config has had a target with this name, which it does not have now. */
  readonly hasHad?: ((name: string) => boolean) | undefined;
  /** True when a word that is not configured is a failure and not the local server. Default false. */
  readonly refusesUnknown?: boolean | undefined;
  /** `version` of server-meta.json, from which the local server's epoch can be found. */
  readonly serverVersionHint?: string | undefined;
}

/** Inputs of `resolveTarget`. */
export interface ResolveInputs extends RouteInputs {
  /** The explicit target of the request, if any. */
  readonly target?: string | undefined;
  readonly lookup: LookupLimits;
}
