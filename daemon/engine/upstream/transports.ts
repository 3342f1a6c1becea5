// The engine's transports: one table of how to get an authenticated byte stream over each, and who ends what was opened.
import type { Duplex } from 'node:stream';
import type { Failure } from '../../base/failure.ts';
import type { Env } from '../../base/paths.ts';
import { IrohPool, type PoolEvent, type Wait } from '../../iroh/pool.ts';
import { openLocal } from '../../transport/local.ts';
import { SystemRoots } from '../../transport/tls/roots.ts';
import { TlsContexts } from '../../transport/tls/tls.ts';
import type { IrohRoute, LocalRoute, ResolvedTarget, Route, TlsRoute } from '../../engine-protocol/plan.ts';
import { targetSettings, type Settings } from '../../config/settings/table.ts';

export interface OpenedTransport {
  readonly stream: Duplex;
  /** False when a connection had to be made first. */
  readonly warm: boolean;
  /** True when the connection below gives nothing back, so that a fresh one should be tried beside it. */
  readonly doubtful?: () => boolean;
}

/** Owns the warm connections, and every graceful end that is still under way. */
export class Transports {
  readonly #tls: TlsContexts;
  readonly #iroh: IrohPool;
  readonly #ends = new Set<Promise<void>>();
  readonly #table: {
    readonly [T in Route['transport']]: (
      route: Extract<Route, { transport: T }>,
      wait: Wait,
    ) => Promise<OpenedTransport>;
  };

  constructor(options: {
    readonly settings: () => Settings;
    readonly env: Env;
    readonly event: (event: PoolEvent) => void;
    /** Asks where the share link leads now that led there; false when nobody can tell. */
    readonly ask: (route: IrohRoute) => boolean;
    /** Told how each dial ended that nobody asked for. */
    readonly tried: (route: IrohRoute, failure?: Failure) => void;
  }) {
    this.#tls = new TlsContexts({ roots: new SystemRoots({ env: options.env }) });
    this.#iroh = new IrohPool({
      relays: () => options.settings()['iroh.relays'],
      event: options.event,
      ask: options.ask,
      tried: options.tried,
      warmth: (named) => targetSettings(options.settings(), named).warm ?? 'auto',
    });
    this.#table = {
      local: async (route: LocalRoute, wait) => ({ stream: await openLocal(route, wait), warm: false }),
      tls: async (route: TlsRoute, wait) => ({
        stream: (await this.#tls.open(route, wait.label, wait)).stream,
        warm: false,
      }),
      iroh: (route: IrohRoute, wait) => this.#iroh.stream(route, wait),
    };
  }

  /** A stream over `route`, authenticated, not yet spoken on. */
  open(route: Route, wait: Wait): Promise<OpenedTransport> {
    switch (route.transport) {
      case 'local':
        return this.#table.local(route, wait);
      case 'tls':
        return this.#table.tls(route, wait);
      case 'iroh':
        return this.#table.iroh(route, wait);
    }
  }

  /** A target leads elsewhere now: what was warm for it becomes warm there. */
  moved(from: Route, { route, label, link }: ResolvedTarget): void {
    if (from.transport !== 'iroh') return;
    if (route.transport === 'iroh') this.#iroh.moved(from, route, { label, link });
    else this.#iroh.left(from, { label, link });
  }

  /** A target is gone: nothing is kept warm for it. */
  left({ route, label, link }: ResolvedTarget): void {
    if (route.transport === 'iroh') this.#iroh.left(route, { label, link });
  }

  /** Lets go of warm connections; streams on them live on. */
  drop({ route, label, link }: ResolvedTarget): void {
    if (route.transport === 'iroh') this.#iroh.drop(route, { label, link });
  }

  /** What a gateway is verified against now, as a key. Rejects when it cannot be told. */
  trustOf(route: TlsRoute, label: string): Promise<string> {
    return this.#tls.trustOf(route, label);
  }

  /** ms, where the transport itself measures it. */
  roundTripMs(route: Route): number | undefined {
    return route.transport === 'iroh' ? this.#iroh.roundTripMs(route) : undefined;
  }

  /** ms since the epoch. */
  warmSinceMs(route: Route): number | undefined {
    return route.transport === 'iroh' ? this.#iroh.warmSinceMs(route) : undefined;
  }

  isDialling(route: Route): boolean {
    return route.transport === 'iroh' && this.#iroh.isDialling(route);
  }

  /** Warm connections are asked for a sign of life before their next use. */
  markStale(): void {
    this.#iroh.markStale();
  }

  isWarm(route: Route): boolean {
    return route.transport === 'iroh' && this.#iroh.isWarm(route);
  }

  /** No stream will be asked for any more: what nobody uses is let go. */
  rest(): void {
    this.#iroh.rest();
  }

  /** Keeps a graceful end until it is over, so that `close` can wait for it. */
  end(ending: Promise<void>): void {
    const settled = ending
      .catch(() => undefined)
      .then(() => {
        this.#ends.delete(settled);
      });
    this.#ends.add(settled);
  }

  /** Waits for the ends under way and for those that they lead to, then closes the warm connections. */
  async close(): Promise<void> {
    while (this.#ends.size > 0) await Promise.allSettled(this.#ends);
    await this.#iroh.close();
  }
}
