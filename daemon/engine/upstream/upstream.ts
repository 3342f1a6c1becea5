// One upstream: everything that the engine knows of a server address and keeps for it, and the methods that open a stream to it.
import type { BrokerEvent, UpstreamRow } from '../../api/answers.ts';
import type { Clock } from '../../base/async/clock.ts';
import type { Failure, FailureData } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { LruMap } from '../../base/lru-map.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';
import type { Settings } from '../../config/settings/table.ts';
import { type Destination, type IrohRoute, type Plan, type Route } from '../../engine-protocol/plan.ts';
import type { Candidate } from '../../hello/candidates.ts';
import { classOf } from '../../errors/error-class.ts';
import { HelloCache } from '../../hello/hello-cache.ts';
import type { ProtocolCache } from '../../hello/protocol-cache.ts';
import type { Handover } from '../../iroh/host.ts';
import { ConnectionCount, UpstreamDialler, type OpenedStream, type Progress } from './dialler.ts';
import { ServerHealth } from './targets/health.ts';
import { openByDetection } from './open/detection.ts';
import type { OptimisticParts } from './open/optimistic.ts';
import { openRaw, openStream, type OpenedFor } from './open/stream.ts';
import { References } from './targets/references.ts';
import type { TargetUse } from './targets/target-use.ts';
import type { Transports } from './transports.ts';
import { UpstreamIroh } from './upstream-iroh.ts';
import { rowsOf, warmSinceMs } from './targets/upstream-row.ts';
import { UpstreamSpares } from './upstream-spares.ts';
import { UpstreamSsh } from './upstream-ssh.ts';
import { WarmUp } from './warm-up.ts';

/** What all upstreams of an engine share. */
export interface UpstreamDeps {
  readonly transports: Pick<Transports, 'open' | 'trustOf' | 'irohHost' | 'ssh' | 'ends'>;
  readonly protocolCache: Pick<ProtocolCache, 'entry'>;
  readonly settings: () => Settings;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** Asks control where the share link that led to `route` leads now. False when control cannot be asked. */
  readonly ask: (route: IrohRoute) => boolean;
  /** Number of connections that other engines hold at an address. */
  readonly otherEngines: (address: string) => number;
  /** A share link leads to `upstream` now, in this context. It is removed as a reference of other upstreams. */
  readonly linkLeadsTo: (upstream: Upstream, link: string, context: string) => void;
  /** See `UpstreamSparesOptions`. */
  readonly keptKeys: LruMap<string, string>;
  readonly clock: Clock;
}

/** What the former upstream of a target hands to its next upstream. */
export interface MovedTarget {
  /** True when the target was the last reference of the former upstream. */
  readonly abandoned: boolean;
  readonly iroh: Handover | undefined;
}

/** Lifecycle: open -> retired (no spares, no reconnects; the engine is leaving) -> closed. */
export class Upstream {
  readonly address: string;
  readonly #deps: UpstreamDeps;
  readonly #connections: ConnectionCount;
  readonly #parts: OptimisticParts;
  readonly #iroh: UpstreamIroh;
  readonly #ssh: UpstreamSsh;
  readonly #warmUp: WarmUp;
  /** Number of live streams between a client and the server. */
  #streams = 0;

  constructor(address: string, deps: UpstreamDeps) {
    const { transports, protocolCache, clock, log, event } = deps;
    this.address = address;
    this.#deps = deps;
    this.#connections = new ConnectionCount(() => deps.otherEngines(address));
    this.#iroh = new UpstreamIroh({
      transports,
      ask: deps.ask,
      tried: (failure) => {
        this.#tried(this.#parts.references.latest, failure);
      },
    });
    this.#ssh = new UpstreamSsh(transports);
    const spares: UpstreamSpares = new UpstreamSpares({
      settings: deps.settings,
      taken: () => this.#connections.taken,
      sessions: (route) => transports.ssh.sessionsOf(route),
      candidate: () => this.candidate,
      open: (plan, candidate, signal) => openByDetection(this.#parts, plan, signal, { only: [candidate] }),
      trustOf: (route, label) => transports.trustOf(route, label),
      end: (stream) => {
        void transports.ends.end(stream);
      },
      tried: (destination, failure) => {
        this.#tried(this.#parts.references.of(destination), failure);
      },
      measured: (roundTripMs) => {
        this.#parts.health.answered(roundTripMs);
      },
      log: (what, details) => {
        log.debug({ address, ...details }, what);
      },
      keptKeys: deps.keptKeys,
      clock,
    });
    const helloCache = new HelloCache({ now: () => clock.now() });
    this.#parts = {
      address,
      dialler: new UpstreamDialler({
        transports,
        host: () => this.#iroh.host,
        connections: this.#connections,
        spares,
        helloCache,
      }),
      protocol: protocolCache.entry(address),
      helloCache,
      health: new ServerHealth(clock),
      references: new References(clock),
      spares,
      ends: transports.ends,
      log,
      event,
    };
    this.#warmUp = new WarmUp({ parts: this.#parts, iroh: this.#iroh, ssh: this.#ssh, results: this, log });
  }

  /** The epoch and compression that the server spoke last. */
  get candidate(): Candidate | undefined {
    return this.#parts.protocol.candidate;
  }

  /** See `openStream`. */
  open(plan: Plan, signal: AbortSignal, progress?: Progress): Promise<OpenedStream> {
    return openStream(this.#parts, plan, { signal, progress });
  }

  /** As `open`, without a spare and without a cached answer: the server answers before the stream is handed out. */
  openByDetection(plan: Plan, signal: AbortSignal, progress?: Progress): Promise<OpenedStream> {
    return openByDetection(this.#parts, plan, signal, { progress });
  }

  /** See `openRaw`. */
  openRaw(plan: Plan, epoch: Epoch | undefined, request: OpenedFor): Promise<OpenedStream> {
    return openRaw(this.#parts, plan, epoch, request);
  }

  /** Opens a stream and ends it, so that the next one is opened faster. Control calls this regularly; a warm upstream does nothing. */
  warm(plan: Plan, type: 'warm' | 'try' = 'warm'): void {
    this.#warmUp[type](plan);
  }

  /** A stream was opened for a caller. */
  succeeded(destination: Destination, candidate: Candidate): void {
    const { references, health } = this.#parts;
    const use = references.note(destination);
    use.confirm();
    use.health.succeeded();
    health.opened(candidate);
    const { link, context } = destination;
    if (link !== undefined) this.#deps.linkLeadsTo(this, link, context);
  }

  /** A stream could not be opened for a caller. Not to be called for a failure that the caller has caused. */
  failed(destination: Destination, failure: FailureData): void {
    this.#parts.references.note(destination).health.failed(failure);
  }

  /** Counts a live stream until `over` settles. */
  countStream(destination: Destination, over: Promise<unknown>): void {
    this.#streams += 1;
    const ended = this.#parts.references.of(destination)?.hold();
    const end = (): void => {
      this.#streams -= 1;
      ended?.();
    };
    over.then(end, end);
  }

  /** A target socket leads here now. `from`: what its former upstream hands over. */
  refer(destination: Destination, from?: MovedTarget): void {
    const { references } = this.#parts;
    references.addTargetSocket();
    if (from?.abandoned === true) references.note(destination).confirm();
    this.#iroh.refer(destination, from?.iroh);
  }

  /** A target socket no longer leads here, but to `now`, or nowhere. After the last target socket there are no spares. */
  unrefer(destination: Destination, now?: Destination): MovedTarget | undefined {
    const { references, spares } = this.#parts;
    const isLast = references.removeTargetSocket();
    if (isLast) {
      this.#warmUp.abort();
      spares.drop();
    } else if (now === undefined) return undefined;
    const iroh = this.#iroh.unrefer(destination, now);
    return { abandoned: references.remove(destination), iroh };
  }

  /** The destination of a target socket has changed, with the same address. */
  rerefer(before: Destination, now: Destination): void {
    this.#parts.references.renameContext(before.context, now.context);
    this.#iroh.refer(now, this.#iroh.unrefer(before, now));
  }

  /** A share link leads to another upstream now, in this context. */
  unreferLink(link: string, context: string): void {
    this.#parts.references.removeLink(link, context);
  }

  /** Ends the spares, retires the connections of the target, and forgets its failures. Live streams go on. */
  drop(destination: Destination): void {
    const { spares, references } = this.#parts;
    spares.drop();
    spares.cooled(destination);
    references.of(destination)?.drop();
    this.#iroh.drop(destination);
    this.#ssh.drop(destination);
  }

  /** A target was dropped: there is no reconnect for it any more. */
  forgetTarget(destination: Destination): void {
    this.#iroh.forget(destination);
  }

  /** Releases spares when more connections are taken than `warmth.max_connections`. */
  makeRoom(): void {
    this.#parts.spares.makeRoom();
  }

  /** Ends the spares; the next use makes others. */
  dropSpares(): void {
    this.#parts.spares.drop();
  }

  /** The network has changed: spares are checked before their next use. */
  markStale(): void {
    this.#parts.spares.markStale();
  }

  /** True when a connection for `route` is up that carries several streams. */
  isWarm(route: Route): boolean {
    return this.#iroh.isWarm(route) || this.#ssh.isWarm(route);
  }

  /** True when a stream can be opened without a dial. */
  isReady(route: Route): boolean {
    return this.isWarm(route) || this.#parts.spares.count > 0;
  }

  /** True while something depends on this object, so that it must not be replaced by another one for the same address. */
  get inUse(): boolean {
    const { references, spares } = this.#parts;
    return references.hasTargetSockets || spares.isAwaited || this.#isBusy || this.#iroh.inUse;
  }

  /** The rows for the status. A target that nobody asks for leaves, the last one only when nothing is held for it. */
  status(): UpstreamRow[] {
    const { references, health, spares } = this.#parts;
    const [iroh, ssh] = [this.#iroh, this.#ssh];
    for (const use of references.uses.filter(({ isOver, streams }) => isOver && streams === 0)) {
      const isLast = references.uses.length === 1;
      const isHeld = this.#isBusy || warmSinceMs({ iroh, ssh, spares }, use) !== undefined;
      if (!(isLast && isHeld)) references.forget(use);
    }
    if (references.latest === undefined) health.reset();
    return rowsOf({ ...this.#parts, iroh, ssh, connections: this.#connections.held });
  }

  /** The engine takes no more requests: spares and warm-ups end, and only connections with streams are kept. */
  retire(): void {
    this.#parts.spares.close();
    this.#warmUp.abort();
    this.#iroh.retire();
  }

  /** After `retire`: resolves when no spare is being made any more. Never rejects. */
  retired(): Promise<void> {
    return this.#parts.spares.over();
  }

  /** The registry has removed this upstream, which is not in use. */
  close(): void {
    this.retire();
    this.#parts.ends.keep(this.#iroh.close());
  }

  get #isBusy(): boolean {
    const { isOpening } = this.#parts.references;
    const { held, isDialling } = this.#connections;
    return isOpening || isDialling || held > 0 || this.#streams > 0;
  }

  /** The result of a spare or a reconnect. The first failure in a row is an event. */
  #tried(use: TargetUse | undefined, failure?: Failure): void {
    if (use?.health.triedInBackground(failure?.data) !== true || failure === undefined) return;
    const { address } = this;
    const { target } = use;
    const { code, message } = failure;
    const { log, event } = this.#deps;
    log.info({ address, code, causes: failure.data.causes }, 'cannot be kept warm just now');
    event({ type: 'connection failed', target, code, class: classOf(failure.data), detail: message });
  }
}
