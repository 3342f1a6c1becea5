// The registry of upstreams, one for each server address.
import type { UpstreamRow } from '../../api/answers.ts';
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import type { ProtocolCache } from '../../hello/protocol-cache.ts';
import type { NetworkChange } from '../network-watch.ts';
import type { Transports } from './transports.ts';
import { Upstream, type UpstreamDeps } from './upstream.ts';

export interface UpstreamsOptions extends Pick<UpstreamDeps, 'settings' | 'log' | 'event' | 'ask'> {
  readonly transports: UpstreamDeps['transports'] & Pick<Transports, 'markStale' | 'readAgain' | 'close'>;
  readonly protocolCache: Pick<ProtocolCache, 'entry' | 'flushed'>;
  readonly clock?: Clock;
}

/** Upstreams at once; the least recently used are closed first. One that is in use is not closed. */
const MAX_UPSTREAMS = 256;
/** Targets that are kept warm, at most. */
const MAX_KEPT = 256;

export class Upstreams {
  readonly #options: UpstreamsOptions;
  readonly #deps: UpstreamDeps;
  readonly #upstreams = new LruMap<string, Upstream>(
    MAX_UPSTREAMS,
    (upstream) => {
      upstream.close();
    },
    (upstream) => upstream.inUse,
  );
  /** Number of connections that other engines hold, by address. */
  #otherEngines: Readonly<Record<string, number>> = {};
  #retired = false;

  constructor(options: UpstreamsOptions) {
    this.#options = options;
    this.#deps = {
      ...options,
      clock: options.clock ?? SYSTEM_CLOCK,
      keptKeys: new LruMap(MAX_KEPT),
      otherEngines: (address) => this.#otherEngines[address] ?? 0,
      linkLeadsTo: (upstream, link, context) => {
        for (const other of this.#upstreams.values())
          if (other !== upstream) other.unreferLink(link, context);
      },
    };
  }

  /** The upstream of a destination. To be called for each use, since an upstream that is not in use may be replaced. */
  for({ address }: Destination): Upstream {
    const known = this.#upstreams.get(address);
    if (known !== undefined) return known;
    const upstream = new Upstream(address, this.#deps);
    if (this.#retired) upstream.retire();
    this.#upstreams.set(address, upstream);
    return upstream;
  }

  /** The destination of a target socket has changed. */
  move(before: Destination, now: Destination): void {
    const [former, upstream] = [this.for(before), this.for(now)];
    if (former === upstream) upstream.rerefer(before, now);
    else upstream.refer(now, former.unrefer(before, now));
  }

  /** Drops a target: nothing is kept ready for it at any server. Live streams go on. */
  drop(destination: Destination): void {
    for (const upstream of this.#upstreams.values()) upstream.forgetTarget(destination);
    this.for(destination).drop(destination);
  }

  /** Sets the number of connections that other engines of this user hold, by address. */
  setOtherEngines(connections: Readonly<Record<string, number>>): void {
    this.#otherEngines = connections;
    for (const address of Object.keys(connections)) this.#upstreams.peek(address)?.makeRoom();
  }

  /** See `Transports.readAgain`. */
  readAgain(): void {
    this.#options.transports.readAgain();
  }

  /** Spares may be of a gateway that is not trusted any more. */
  trustChanged(): void {
    for (const upstream of this.#upstreams.values()) upstream.dropSpares();
  }

  /** The network is another one, or the clock has jumped: connections and spares are checked before their next use. */
  networkChanged(what: NetworkChange): void {
    const { log, event } = this.#options;
    log.info({ what }, 'the network has changed, or the machine has slept: what is warm is checked');
    event({ type: 'network changed' });
    this.#options.transports.markStale();
    for (const upstream of this.#upstreams.values()) upstream.markStale();
  }

  rows(): UpstreamRow[] {
    return [...this.#upstreams.values()].flatMap((upstream) => upstream.status());
  }

  /** The engine takes no more requests: only connections with streams are kept. */
  retire(): void {
    this.#retired = true;
    for (const upstream of this.#upstreams.values()) upstream.retire();
  }

  /** From now on nobody waits for a server that is silent: the engine was told to end. */
  hurry(): void {
    this.#options.transports.ends.hurry();
  }

  /** Ends all spares, waits for the graceful ends under way, and closes the connections. */
  async close(): Promise<void> {
    this.retire();
    await Promise.all([...this.#upstreams.values()].map((upstream) => upstream.retired()));
    await this.#options.transports.close();
    await this.#options.protocolCache.flushed();
  }
}
