// One server address: everything that the engine knows of it and holds for it, and the methods that open a stream to it.
import type { BrokerEvent, UpstreamRow } from '../../api/answers.ts';
import type { Clock } from '../../base/async/clock.ts';
import { Deadline } from '../../base/async/deadline.ts';
import type { Failure, FailureData } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { LruMap } from '../../base/lru-map.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';
import type { Settings } from '../../config/settings/table.ts';
import {
  askedFor,
  type Destination,
  type IrohRoute,
  type Plan,
  type Route,
} from '../../engine-protocol/plan.ts';
import { asFailure } from '../../errors/fail.ts';
import type { Candidate } from '../../hello/candidates.ts';
import { HelloCache } from '../../hello/hello-cache.ts';
import type { ProtocolCache } from '../../hello/protocol-cache.ts';
import type { Handover } from '../../iroh/host.ts';
import { ConnectionCount, UpstreamDialler, type OpenedStream } from './dialler.ts';
import { greetingOf } from './greeting.ts';
import { Health } from './health.ts';
import { openByDetection } from './open-detection.ts';
import { openOnSpare, openWithCachedAnswer, type OptimisticParts } from './open-optimistic.ts';
import { References } from './references.ts';
import type { Transports } from './transports.ts';
import { UpstreamIroh } from './upstream-iroh.ts';
import { rowOf, warmSinceMs } from './upstream-row.ts';
import { UpstreamSpares } from './upstream-spares.ts';

/** What all upstreams of an engine share. */
export interface UpstreamDeps {
  readonly transports: Pick<Transports, 'open' | 'trustOf' | 'irohHost' | 'ends'>;
  readonly protocolCache: Pick<ProtocolCache, 'entry'>;
  readonly settings: () => Settings;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** Asks control where the share link that led to `route` leads now; false when nobody can tell. */
  readonly ask: (route: IrohRoute) => boolean;
  /** Connections that other engines hold at an address. */
  readonly otherEngines: (address: string) => number;
  /** A share link leads to `upstream` now, in this context: at other upstreams it is no reference any more. */
  readonly linkLeadsTo: (upstream: Upstream, link: string, context: string) => void;
  /** See `UpstreamSparesOptions`. */
  readonly keptKeys: LruMap<string, string>;
  readonly clock: Clock;
}

/** What an upstream hands to the one to which a target leads now. */
export interface MovedTarget {
  /** The target was the last reference here. */
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
  /** Aborts the warm-up that is under way. */
  #warmUp: AbortController | undefined;
  /** Live streams between a client and the server. */
  #streams = 0;
  /** Requests that wait for a spare. */
  #taking = 0;

  constructor(address: string, deps: UpstreamDeps) {
    const { transports, protocolCache, clock, log } = deps;
    this.address = address;
    this.#deps = deps;
    this.#connections = new ConnectionCount(() => deps.otherEngines(address));
    this.#iroh = new UpstreamIroh({ transports, ask: deps.ask, tried: this.#tried });
    const spares: UpstreamSpares = new UpstreamSpares({
      settings: deps.settings,
      taken: () => this.#connections.taken,
      candidate: () => this.candidate,
      open: (plan, candidate, signal) => openByDetection(this.#parts, plan, signal, [candidate]),
      trustOf: (route, label) => transports.trustOf(route, label),
      end: (stream) => {
        void transports.ends.end(stream);
      },
      tried: this.#tried,
      log: (what, details) => {
        log.debug({ address, ...details }, what);
      },
      keptKeys: deps.keptKeys,
      clock,
    });
    this.#parts = {
      address,
      dialler: new UpstreamDialler({
        transports,
        host: () => this.#iroh.host,
        connections: this.#connections,
        makeRoom: () => {
          spares.makeRoom();
        },
      }),
      protocol: protocolCache.entry(address),
      helloCache: new HelloCache({ now: () => clock.now() }),
      health: new Health(clock),
      references: new References(),
      spares,
      ends: transports.ends,
      log,
      optimisticOpenFailed: this.#optimisticOpenFailed,
    };
  }

  /** The epoch and compression that the server spoke last. */
  get candidate(): Candidate | undefined {
    return this.#parts.protocol.candidate;
  }

  /** Opens the stream of `plan` within its budget. Rejects with the failure that the user should read. */
  async open(plan: Plan, signal: AbortSignal): Promise<OpenedStream> {
    const epoch = plan.client.contract?.epoch ?? this.candidate?.epoch;
    const isLocal = plan.destination.route.transport === 'local';
    // A local server is no round trip away: an optimistic Hello gains nothing.
    const greeting = isLocal || epoch === undefined ? undefined : greetingOf(plan, epoch);
    if (greeting === undefined) return openByDetection(this.#parts, plan, signal);
    const { spares, helloCache } = this.#parts;
    const deadline = new Deadline(plan.budgetMs);
    this.#taking += 1;
    // The other half of the time is for a stream without a spare.
    const spare = await spares.take(plan, greeting, plan.budgetMs / 2).finally(() => {
      this.#taking -= 1;
    });
    if (spare !== undefined) return openOnSpare(this.#parts, plan, greeting, spare, signal);
    const later: Plan = { ...plan, budgetMs: Math.max(1, deadline.remaining()) };
    const answer = helloCache.get(greeting);
    if (answer === undefined) return openByDetection(this.#parts, later, signal);
    return openWithCachedAnswer(this.#parts, later, greeting, answer, signal);
  }

  /** The same without a spare and without a cached answer: the server answers before the stream is handed out. */
  openByDetection(plan: Plan, signal: AbortSignal): Promise<OpenedStream> {
    return openByDetection(this.#parts, plan, signal);
  }

  /** A stream on which nothing has been sent, in the compression of this server, which is detected first where it is not known. */
  async openRaw(plan: Plan, epoch: Epoch | undefined, signal: AbortSignal): Promise<OpenedStream> {
    const deadline = new Deadline(plan.budgetMs);
    let candidate = this.candidate;
    if (candidate === undefined) {
      const { contract: _, ...client } = plan.client;
      const detected = await openByDetection(this.#parts, { ...plan, client }, signal);
      void this.#parts.ends.end(detected.stream);
      candidate = detected.candidate;
    }
    const dialler = this.#parts.dialler.for(plan.destination, deadline);
    const { stream, warm } = await dialler.open(candidate, signal);
    return {
      stream,
      candidate: { ...candidate, epoch: epoch ?? candidate.epoch },
      negotiated: { revision: 0, capabilities: [] },
      warm,
    };
  }

  /** Opens a stream and ends it, so that the next one finds everything ready. Control calls this again and again: a warm upstream does nothing. */
  warm(plan: Plan): void {
    const { spares, ends } = this.#parts;
    spares.review(plan);
    if (this.#needsNoWarmUp(plan) || this.#warmUp?.signal.aborted === false) return;
    const warmUp = new AbortController();
    this.#warmUp = warmUp;
    const over = openByDetection(this.#parts, plan, warmUp.signal)
      .then(
        ({ stream, candidate }) => {
          if (!warmUp.signal.aborted) this.succeeded(plan.destination, candidate);
          void ends.end(stream);
        },
        (error: unknown) => {
          if (warmUp.signal.aborted) return;
          const failure = asFailure(error);
          this.failed(plan.destination, failure.data);
          const target = askedFor(plan.destination);
          this.#deps.log.info({ target, code: failure.code }, 'could not be warmed');
        },
      )
      .finally(() => {
        if (this.#warmUp === warmUp) this.#warmUp = undefined;
      });
    ends.keep(over);
  }

  /** A stream was opened for a caller. */
  succeeded(destination: Destination, candidate: Candidate): void {
    const { references, health } = this.#parts;
    references.note(destination);
    references.confirm();
    health.succeeded(candidate);
    const { link, context } = destination;
    if (link !== undefined) this.#deps.linkLeadsTo(this, link, context);
  }

  /** A stream could not be opened for a caller. Not to be called for a failure that is the caller's own. */
  failed(destination: Destination, failure: FailureData): void {
    this.#parts.references.note(destination);
    this.#parts.health.failed(failure);
  }

  /** A live stream: it is counted until `over` resolves. */
  countStream(over: Promise<unknown>): void {
    this.#streams += 1;
    const end = (): void => {
      this.#streams -= 1;
    };
    over.then(end, end);
  }

  /** A target socket leads here now. `from`: what the upstream hands over to which it led before. */
  refer(destination: Destination, from?: MovedTarget): void {
    const { references } = this.#parts;
    references.addTargetSocket();
    if (from?.abandoned === true) {
      references.note(destination);
      references.confirm();
    }
    this.#iroh.refer(destination, from?.iroh);
  }

  /** A target socket no longer leads here, but to `now`, or nowhere. After the last one nothing is kept ready. */
  unrefer(destination: Destination, now?: Destination): MovedTarget | undefined {
    const { references, spares } = this.#parts;
    const isLast = references.removeTargetSocket();
    if (isLast) {
      this.#warmUp?.abort();
      spares.drop();
    } else if (now === undefined) return undefined;
    const iroh = this.#iroh.unrefer(destination, now);
    return { abandoned: references.remove(destination), iroh };
  }

  /** The destination of a target socket has changed, but not its address. */
  rerefer(before: Destination, now: Destination): void {
    this.#parts.references.renameContext(before.context, now.context);
    this.#iroh.refer(now, this.#iroh.unrefer(before, now));
  }

  /** A share link leads to another upstream now, in this context. */
  unreferLink(link: string, context: string): void {
    const { references } = this.#parts;
    if (references.link === link) references.removeContext(context);
  }

  /** Releases what is ready for the target; live streams go on. */
  drop(destination: Destination): void {
    this.#parts.spares.drop();
    this.#iroh.drop(destination);
  }

  /** No connection is made again for this target: it was dropped. */
  forgetTarget(destination: Destination): void {
    this.#iroh.forget(destination);
  }

  /** Releases spares when more connections are taken than may be. */
  makeRoom(): void {
    this.#parts.spares.makeRoom();
  }

  /** The network has changed: spares are checked before their next use. */
  markStale(): void {
    this.#parts.spares.markStale();
  }

  /** True when an iroh connection for `route` is up. */
  isWarm(route: Route): boolean {
    return this.#iroh.isWarm(route);
  }

  /** True when a stream can be opened without a dial. */
  isReady(route: Route): boolean {
    return this.isWarm(route) || this.#parts.spares.count > 0;
  }

  /** True while something depends on this object: it must not be replaced by another one for the same address. */
  get inUse(): boolean {
    const { references } = this.#parts;
    return references.hasTargetSockets || this.#taking > 0 || this.#isBusy || this.#iroh.inUse;
  }

  /** The row for the status; undefined when there is nothing to show. */
  status(): UpstreamRow | undefined {
    const { references, health, spares } = this.#parts;
    const iroh = this.#iroh;
    if (
      references.isAbandoned &&
      !this.#isBusy &&
      warmSinceMs({ iroh, spares }, references.route) === undefined
    ) {
      references.reset();
      health.reset();
    }
    return rowOf({ ...this.#parts, iroh, connections: this.#connections.held, streams: this.#streams });
  }

  /** The engine takes no more requests: spares and warm-ups end, and only connections with streams on them are kept. */
  retire(): void {
    this.#parts.spares.close();
    this.#warmUp?.abort();
    this.#iroh.retire();
  }

  /** After `retire`: resolves when no spare is being made any more. Never rejects. */
  retired(): Promise<void> {
    return this.#parts.spares.over();
  }

  /** The upstream was evicted from the registry: it is not in use. */
  close(): void {
    this.retire();
    this.#parts.ends.keep(this.#iroh.close());
  }

  /** A connection is up or being made, or the server has answered and there are as many spares as there should be. */
  #needsNoWarmUp(plan: Plan): boolean {
    const { references, health, spares } = this.#parts;
    const { route } = plan.destination;
    if (references.isOpening) return true;
    if (route.transport === 'iroh') return this.#iroh.isWarm(route);
    return health.hasAnswered && spares.areKept(plan, health.roundTripMs ?? 0);
  }

  get #isBusy(): boolean {
    const { isOpening } = this.#parts.references;
    const { held, isDialling } = this.#connections;
    return isOpening || isDialling || held > 0 || this.#streams > 0;
  }

  readonly #optimisticOpenFailed = (plan: Plan, failure: Failure): void => {
    const { helloCache, spares, health } = this.#parts;
    const { address } = this;
    helloCache.clear();
    spares.drop();
    health.optimisticOpenFailed(failure.data);
    const { requestId } = plan.client;
    const told = {
      target: askedFor(plan.destination),
      requestId,
      code: failure.code,
      detail: failure.message,
    };
    this.#deps.log.warn({ ...told, address }, 'optimistic open failed');
    this.#deps.event({ type: 'optimistic open failed', ...told });
  };

  /** A spare or a reconnect was tried. That it begins to fail is an event; each result is shown in the status. */
  readonly #tried = (failure?: Failure): void => {
    const { references, health } = this.#parts;
    const { target } = references;
    if (target === undefined || !health.triedInBackground(failure?.data) || failure === undefined) return;
    const { address } = this;
    const { code, message } = failure;
    const { log, event } = this.#deps;
    log.info({ address, code, causes: failure.data.causes }, 'cannot be kept warm just now');
    event({ type: 'connection failed', target, code, detail: message });
  };
}
