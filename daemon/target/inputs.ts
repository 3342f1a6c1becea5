// What target resolution is given. All of it is data of one request and its context; nothing is looked up in globals.
import type { BmuxPaths } from '../base/paths.ts';
import type { BmuxConfig } from '../config/bmux/types.ts';
import type { CallerEnv } from '../api/request.ts';

/** How a stream to a target is compressed; `auto` follows behavior.compression of the config. */
export type CompressionSetting = 'auto' | 'zstd' | 'none';

/** How the control plane may be asked. */
export interface LookupLimits {
  /** For the whole lookup: redirects and the answer's body included. */
  readonly timeoutMs: number;
  /** The request's own end; an aborted lookup rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Default Node's own, which knows no proxies: inject one that follows the usual variables where they count. */
  readonly fetch?: typeof fetch | undefined;
}

/** What a route is made from, once it is known which target it is. */
export interface RouteInputs {
  readonly env: CallerEnv;
  readonly config: BmuxConfig;
  readonly paths: Pick<BmuxPaths, 'serverSocket' | 'authState'>;
  /** bmuxd's own compression settings, by the target's name (an inline target: as written). They win over the target's. */
  readonly overrides?: ReadonlyMap<string, CompressionSetting> | undefined;
  /** `version` of server-meta.json: the local server's epoch can be told from it. */
  readonly serverVersionHint?: string | undefined;
}

/** Everything that `resolveTarget` is given. */
export interface ResolveInputs extends RouteInputs {
  /** The explicit target of the request, if any. */
  readonly target?: string | undefined;
  readonly lookup: LookupLimits;
}
