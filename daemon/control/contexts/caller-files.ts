// The files of a caller that each of its requests needs, cached: server-meta.json and the principal id.
import { CachedFiles } from '../../config/files/cached-file.ts';
import type { BmuxPaths } from '../../base/paths.ts';
import type { ServerMeta } from '../../policy/meta-format.ts';
import { metaForPolicy } from '../../policy/server-meta.ts';
import { loadPrincipalId } from '../../request/principal.ts';
import { asFailure } from '../../errors/fail.ts';
import type { Principal } from '../../engine-protocol/plan.ts';

export class CallerFiles {
  readonly #metas = new CachedFiles<ServerMeta | undefined>();
  readonly #principals = new CachedFiles<string>();

  /** See `metaForPolicy`. Never rejects. */
  meta(paths: BmuxPaths): Promise<ServerMeta | undefined> {
    return this.#metas.get(paths.serverMeta, () => metaForPolicy(paths));
  }

  /** The principal, or why it cannot be read. The engine reports that only if it needs it, after all other checks. Never rejects. */
  async principal(paths: BmuxPaths): Promise<Principal> {
    try {
      return { id: await this.#principals.get(paths.principalId, () => loadPrincipalId({ paths })) };
    } catch (error) {
      return { failure: asFailure(error).data };
    }
  }

  /** Both are read again for the next request. */
  forget(): void {
    this.#metas.forget();
    this.#principals.forget();
  }
}
