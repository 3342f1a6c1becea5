// The engine's transports: open an authenticated byte stream over each of them, and end all streams.
import type { Duplex } from 'node:stream';
import { textOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Logger } from '../../base/log.ts';
import type { Env } from '../../base/paths.ts';
import type { ConnectionEvent, IrohHost, IrohHostOptions, NamedDialling } from '../../iroh/host.ts';
import type { ConnectionBelow } from '../../hello/attempt.ts';
import { IrohPool } from '../../iroh/pool.ts';
import { endGracefully } from '../../transport/end.ts';
import { SshPool, type SshPoolOptions } from '../../transport/ssh/pool.ts';
import { openLocal } from '../../transport/local.ts';
import { SystemRoots } from '../../transport/tls/certificates/roots.ts';
import { TlsContexts } from '../../transport/tls/tls.ts';
import type { IrohRoute, LocalRoute, Route, SshRoute, TlsRoute } from '../../engine-protocol/plan.ts';
import type { NetworkWatch } from '../network-watch.ts';
import { targetSettings, type Settings } from '../../config/settings/table.ts';

export interface TransportStream {
  readonly stream: Duplex;
  /** False when a connection had to be made first. */
  readonly warm: boolean;
  readonly below?: ConnectionBelow;
  /** True when the name of the host leads to another address by now. */
  readonly hasMoved?: () => boolean;
  /** See `DialledStream.pinned`. */
  readonly pinned?: Route | undefined;
  /** See `DialledStream.acknowledge`. */
  readonly acknowledge?: () => void;
}

/** `host`: the iroh host of the upstream. */
type Open<R extends Route> = (
  route: R,
  wait: NamedDialling,
  host: () => IrohHost,
) => Promise<TransportStream>;

/** The graceful ends that are under way. The engine waits for them before it closes the connections below. */
export class GracefulEnds {
  readonly #ends = new Set<Promise<void>>();
  readonly #hurry = new AbortController();

  /** Ends `stream` gracefully, within LIMITS.endMs. Resolves when that is over; never rejects. `mostBytes`: see `endGracefully`. */
  end(stream: Duplex, mostBytes?: number): Promise<void> {
    const ending = endGracefully(stream, LIMITS.endMs, this.#hurry.signal, mostBytes);
    this.keep(ending);
    return ending;
  }

  /** From now on nobody waits for a peer that is silent: the engine was told to end. */
  hurry(): void {
    this.#hurry.abort();
  }

  get hurried(): boolean {
    return this.#hurry.signal.aborted;
  }

  /** The engine also waits for `work`, which may still end a stream. */
  keep(work: Promise<void>): void {
    const over = work
      .catch(() => undefined)
      .then(() => {
        this.#ends.delete(over);
      });
    this.#ends.add(over);
  }

  /** Resolves when all ends are over, also those that begin during the wait. Never rejects. */
  async over(): Promise<void> {
    while (this.#ends.size > 0) await Promise.all(this.#ends);
  }
}

/** Logged for each source of roots with something broken in it. */
const LEFT_OUT = 'left out of the trusted certificates';

export class Transports {
  /** The graceful ends of all streams that were opened here. */
  readonly ends = new GracefulEnds();
  readonly #tls: TlsContexts;
  readonly #iroh: IrohPool;
  readonly ssh: SshPool;
  readonly #network: () => Pick<NetworkWatch, 'noticeJump'> | undefined;
  readonly #table: { readonly [T in Route['transport']]: Open<Extract<Route, { transport: T }>> };

  constructor(options: {
    readonly settings: () => Settings;
    readonly env: Env;
    readonly event: (event: ConnectionEvent) => void;
    /** Asked before each stream: it marks everything stale when the machine has slept. */
    readonly network?: () => Pick<NetworkWatch, 'noticeJump'>;
    readonly ssh: Pick<
      SshPoolOptions,
      'engineSocket' | 'generation' | 'isAlive' | 'isLast' | 'lead' | 'onLogin'
    >;
    readonly log?: Logger;
  }) {
    this.#network = options.network ?? (() => undefined);
    const roots = new SystemRoots({
      env: options.env,
      log: ({ path, problems }) => options.log?.warn({ path, problems: problems.slice(0, 10) }, LEFT_OUT),
    });
    // Read ahead of the first stream, which would wait for it.
    roots.current().catch((error: unknown) => options.log?.warn({ err: textOf(error) }, 'reading the roots'));
    this.#tls = new TlsContexts({ roots });
    this.#iroh = new IrohPool({
      relays: () => options.settings()['iroh.relays'],
      silenceMs: () => options.settings()['iroh.silence_limit'] * 1000,
      event: options.event,
      warmth: (named) => targetSettings(options.settings(), named).warm ?? 'auto',
    });
    this.ssh = new SshPool({
      ...options.ssh,
      env: options.env,
      event: options.event,
      warmth: (named) => targetSettings(options.settings(), named).warm ?? 'auto',
    });
    this.#table = {
      local: async (route: LocalRoute, wait) => ({ stream: await openLocal(route, wait), warm: false }),
      tls: async (route: TlsRoute, wait) => {
        const opened = await this.#tls.open(route, wait.label, wait);
        const { stream, hasMoved, pinned, acknowledge } = opened;
        return { stream, hasMoved, pinned, acknowledge, warm: false };
      },
      iroh: (route: IrohRoute, wait, host) => host().stream(route, wait),
      ssh: (route: SshRoute, wait) => this.ssh.stream(route, wait),
    };
  }

  /** Opens an authenticated stream over `route`, on which nothing has been sent. */
  open(route: Route, wait: NamedDialling, host: () => IrohHost): Promise<TransportStream> {
    this.#network()?.noticeJump();
    switch (route.transport) {
      case 'local':
        return this.#table.local(route, wait, host);
      case 'tls':
        return this.#table.tls(route, wait, host);
      case 'iroh':
        return this.#table.iroh(route, wait, host);
      case 'ssh':
        return this.#table.ssh(route, wait, host);
    }
  }

  /** Makes the iroh host of one upstream. */
  irohHost(options: IrohHostOptions): IrohHost {
    return this.#iroh.host(options);
  }

  /** A key of what the gateway is verified against now: it changes with a certificate file. Rejects when a file cannot be read. */
  trustOf(route: TlsRoute, label: string): Promise<string> {
    return this.#tls.trustOf(route, label);
  }

  /** Certificate files are read again at their next use, whatever their stamps say. */
  readAgain(): void {
    this.#tls.renew();
  }

  /** The network has changed, or the machine has slept: warm connections are checked before their next use. */
  markStale(): void {
    this.#iroh.markStale();
    this.ssh.markStale();
  }

  /** Waits for the ends under way, then closes the warm connections. */
  async close(): Promise<void> {
    await this.ends.over();
    const { hurried } = this.ends;
    await Promise.all([this.#iroh.close(hurried ? LIMITS.irohStopMs : LIMITS.endMs), this.ssh.close()]);
  }
}
