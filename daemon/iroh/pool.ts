// The iroh connections of the engine: the endpoint, the bound on all connections, and the timers that check and close them.
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { Settings } from '../config/settings/table.ts';
import { IrohDialler } from './dialler.ts';
import { IrohHost, type ConnectionEvent, type IrohHostOptions, type SharedIroh } from './host.ts';
import { Liveness } from './liveness.ts';
import type { Named, Warmth } from './reconnect.ts';

export interface IrohPoolOptions {
  readonly relays: () => Settings['iroh.relays'];
  /** See `LivenessOptions.silenceMs`. */
  readonly silenceMs?: () => number;
  /** ms for which an unused connection is kept. */
  readonly idleMs?: number;
  /** ms between two searches for unused connections. */
  readonly reapMs?: number;
  readonly event?: (event: ConnectionEvent) => void;
  /** Default: `auto` for all targets. */
  readonly warmth?: (named: Named) => Warmth;
}

/** Connections of all hosts at most. The bound exists since each sends a keep-alive every 5 s. */
const MAX_CONNECTIONS = 64;
/** ms between two searches for unused connections. */
const REAP_MS = 30_000;

/**
 * All upstreams share the endpoint, the remembered SSH agents, the bound and the timers. The connections themselves belong to the `IrohHost` of
 * their upstream.
 */
export class IrohPool {
  readonly #hosts = new Set<IrohHost>();
  readonly #shared: SharedIroh;
  readonly #dialler: IrohDialler;
  readonly #liveness: Liveness;
  readonly #stopReaping: () => void;
  #closed = false;

  constructor(options: IrohPoolOptions) {
    this.#dialler = new IrohDialler(options.relays);
    this.#liveness = new Liveness({
      hosts: () => this.#hosts,
      silenceMs: options.silenceMs ?? (() => Infinity),
    });
    this.#shared = {
      dialler: this.#dialler,
      event: options.event ?? (() => undefined),
      warmth: options.warmth ?? (() => 'auto'),
      idleMs: options.idleMs ?? LIMITS.irohIdleMs,
      followRelays: () => {
        this.#followRelays();
      },
      makeRoom: () => {
        this.#makeRoom();
      },
      isClosed: () => this.#closed,
      remove: (host) => this.#hosts.delete(host),
    };
    this.#stopReaping = SYSTEM_CLOCK.every(options.reapMs ?? REAP_MS, () => {
      this.#followRelays();
      for (const host of this.#hosts) host.reap();
    });
  }

  /** The host of one upstream. It belongs to the pool until it is closed. */
  host(options: IrohHostOptions = {}): IrohHost {
    const host = new IrohHost(this.#shared, options);
    this.#hosts.add(host);
    return host;
  }

  /** Number of connections of all hosts. */
  get size(): number {
    return [...this.#hosts].reduce((sum, { connections }) => sum + connections.size, 0);
  }

  /** The network has changed, or the machine has slept: each connection is checked now, and before its next use. */
  markStale(): void {
    // The binding binds its sockets again after a change, once. When that fails, the endpoint is dead and does not say so.
    this.#dialler.renew();
    for (const host of this.#hosts) host.markStale();
    this.#liveness.look();
  }

  /** Closes every connection gracefully, then the endpoints. `boundMs`: for the streams of a connection. */
  async close(boundMs: number = LIMITS.endMs): Promise<void> {
    this.#closed = true;
    this.#stopReaping();
    this.#liveness.close();
    await Promise.all([...this.#hosts].map((host) => host.close(boundMs)));
    await this.#dialler.close(boundMs);
  }

  /** After a change of the setting, connections over the former relays are retired, and made again over the new ones. */
  #followRelays(): void {
    if (!this.#dialler.follow()) return;
    for (const host of this.#hosts) host.relaysChanged();
  }

  #makeRoom(): void {
    if (this.size < MAX_CONNECTIONS) return;
    const idle = [...this.#hosts].flatMap((host) =>
      [...host.connections]
        .filter(({ connection }) => connection.streams === 0)
        .map((warm) => ({ host, warm })),
    );
    const [oldest] = idle.sort((a, b) => a.warm.usedAt - b.warm.usedAt);
    oldest?.host.connections.retire(oldest.warm);
  }
}
