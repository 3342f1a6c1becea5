// The names of targets that configs have had while this daemon runs. A request for a name that has gone must not lead to the local server:
// the user means another machine.
import type { Env } from '../../base/paths.ts';
import { LruMap } from '../../base/lru-map.ts';
import { agrees, type Reads } from '../../config/bmux/reads.ts';
import type { CurrentConfig } from '../../config/bmux/source.ts';

/** Configs at most, each with its names; the least recently used are forgotten first. */
const MAX_CONFIGS = 256;
/** Names of one config at most. A config of the largest size that is read has about that many. */
const MAX_NAMES = 8192;

interface ContextNames {
  readonly key: string;
  readonly reads: Reads;
  readonly facts: string;
  readonly names: LruMap<string, true>;
}

export class KnownTargets {
  readonly #known = new LruMap<string, ContextNames>(MAX_CONFIGS);
  /** The configs whose names have been added. */
  readonly #added = new WeakSet<object>();

  /** Adds the names of a config. `key`: the key of its context. */
  add(key: string, { config, reads, facts }: CurrentConfig): void {
    if (this.#added.has(config)) return;
    this.#added.add(config);
    const { targets } = config.connections;
    if (targets.size === 0) return;
    const named = [...reads].sort(([a], [b]) => (a < b ? -1 : 1));
    const id = JSON.stringify([key, facts, named]);
    const known = this.#known.get(id) ?? { key, reads, facts, names: new LruMap<string, true>(MAX_NAMES) };
    for (const name of targets.keys()) known.names.set(name, true);
    this.#known.set(id, known);
  }

  /** True when a config for a caller with this environment and these facts has had the name. */
  has(name: string, caller: { readonly key: string; readonly env: Env; readonly facts: string }): boolean {
    for (const { key, reads, facts, names } of this.#known.values()) {
      const isSame = key === caller.key && (facts === '' || facts === caller.facts);
      if (isSame && names.has(name) && agrees(caller.env, reads)) return true;
    }
    return false;
  }
}
