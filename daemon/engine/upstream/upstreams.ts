// What the engine knows of the servers it has spoken to, for the status: last way, last error, places held.
import type { FailureData } from '../../base/failure.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import type { Candidate } from '../../hello/candidates.ts';
import type { Connections } from './connections.ts';
import type { UpstreamRow } from '../../api/answers.ts';
import { classOf } from '../../errors/error-class.ts';
import { askedFor, type Destination, type Plan, type Route } from '../../engine-protocol/plan.ts';

interface Known {
  route: Route;
  target: string;
  /** In which a target of that name has led there, the latest last: elsewhere it may be another one. */
  contexts: Set<string>;
  candidate: Candidate | undefined;
  lastError: UpstreamRow['lastError'];
  /** First of the failures in a row. */
  failingSinceMs: number | undefined;
  lastStreamMs: number | undefined;
  /** ms from Hello to answer. */
  helloMs: number | undefined;
  /** Streams that are being opened. */
  opening: number;
  /** The share link by which it was reached the last time. */
  link: string | undefined;
  /** Nothing leads there any more: it goes with its last stream. */
  left: boolean;
}

/** What says that a way led nowhere. A share link may lead elsewhere by now: an iroh host is a new endpoint at each of its starts. */
export const UNREACHABLE: ReadonlySet<string> = new Set([
  'iroh_unreachable',
  'iroh_connect_timeout',
  'iroh_stream_failed',
  'tls_unreachable',
  'tls_connect_timeout',
]);

/** ms that the last error is shown of a server that has answered since: whoever saw it asks for the reason. */
const ERROR_SHOWN_MS = 60_000;
/** Servers remembered for the status; the least recently used go first. */
const MAX_KNOWN = 256;
/** Contexts remembered of each. */
const MAX_CONTEXTS = 16;

export interface UpstreamsOptions {
  readonly connections: Connections;
  /** As the transport measures it, ms. */
  readonly roundTripMs: (route: Route) => number | undefined;
  readonly spares: (address: string) => number;
  /** Since when what is warm has been kept, the oldest of it; ms since the epoch. Undefined when nothing is. */
  readonly warmSinceMs: (route: Route) => number | undefined;
  /** True while a connection is being made in the background. */
  readonly isDialling: (route: Route) => boolean;
  /** True when the spares of a TLS target need no visit, at this round trip (ms). */
  readonly sparesAreKept: (plan: Plan, roundTripMs: number) => boolean;
  /** Live streams at a server. */
  readonly streams: (address: string) => number;
}

function shownError({ lastError, failingSinceMs }: Known, now: number): Pick<UpstreamRow, 'lastError'> {
  if (lastError === undefined) return {};
  return failingSinceMs !== undefined || now - lastError.atMs < ERROR_SHOWN_MS ? { lastError } : {};
}

/** In this context its target leads there no more: it goes with the last one. False when it did not lead there. */
function leave(known: Known, context: string): boolean {
  if (!known.contexts.delete(context)) return false;
  if (known.contexts.size === 0) known.left = true;
  return true;
}

function errorOf(failure: FailureData): NonNullable<UpstreamRow['lastError']> {
  return { code: failure.code, class: classOf(failure), detail: failure.detail, atMs: Date.now() };
}

export class Upstreams {
  readonly #known = new Map<string, Known>();
  readonly #options: UpstreamsOptions;

  constructor(options: UpstreamsOptions) {
    this.#options = options;
  }

  /** It needs no visit: a connection to it is up or being made, or it has answered and has the spares that it is to have. */
  isWell(plan: Plan): boolean {
    const { route } = plan.destination;
    const known = this.#known.get(addressOf(route));
    if ((known?.opening ?? 0) > 0) return true;
    if (route.transport === 'iroh') return this.#options.warmSinceMs(route) !== undefined;
    if (known?.lastStreamMs === undefined || known.failingSinceMs !== undefined) return false;
    return this.#options.sparesAreKept(plan, known.helloMs ?? 0);
  }

  succeeded(plan: Plan, candidate: Candidate): void {
    const known = this.#touch(plan.destination);
    known.left = false;
    known.candidate = candidate;
    known.lastStreamMs = Date.now();
    known.failingSinceMs = undefined;
    this.#supersede(known, plan.destination.context);
  }

  /** The link leads elsewhere now: where it led before goes, once nothing of ours is there. Nobody tells of that who has no target socket. */
  #supersede(now: Known, context: string): void {
    if (now.link === undefined) return;
    for (const other of this.#known.values())
      if (other !== now && other.link === now.link) leave(other, context);
  }

  failed(plan: Plan, failure: FailureData): void {
    this.#fail(this.#touch(plan.destination), failure);
  }

  /** A stream that had been promised: whether the server fails, the next one shows. */
  broken(plan: Plan, failure: FailureData): void {
    this.#of(plan).lastError = errorOf(failure);
  }

  #fail(known: Known, failure: FailureData): void {
    known.lastError = errorOf(failure);
    known.failingSinceMs ??= known.lastError.atMs;
  }

  /**
   * What was tried without being asked for: a connection that is made again, a spare. True for the first failure in a row. Only what is
   * known already, and only a way that leads nowhere: anything else is for who asks.
   */
  tried(address: string, failure?: FailureData): boolean {
    const known = this.#known.get(address);
    if (known === undefined) return false;
    if (failure === undefined) {
      known.failingSinceMs = undefined;
      return false;
    }
    if (!UNREACHABLE.has(failure.code)) return false;
    const first = known.failingSinceMs === undefined;
    this.#fail(known, failure);
    return first;
  }

  /** What a person calls it. */
  targetAt(address: string): string {
    return this.#known.get(address)?.target ?? address;
  }

  /** What led there leads elsewhere by now: nothing is known of that yet, and the former server is nobody's any more. */
  moved(before: Destination, now: Destination): void {
    if (before.address !== now.address) {
      if (this.left(before)) this.#touch(now).left = false;
      return;
    }
    // Its context may be called otherwise since the config has changed.
    const contexts = this.#known.get(now.address)?.contexts;
    if (contexts?.delete(before.context) === true) contexts.add(now.context);
  }

  /** What led there is gone: the server is nobody's any more. False when another target was the last that led there. */
  left(destination: Destination): boolean {
    const known = this.#known.get(destination.address);
    return known?.target === askedFor(destination) && leave(known, destination.context);
  }

  /** Runs `work`, which opens a stream: until it is over the server counts as being connected to. */
  async opening<T>(plan: Plan, work: () => Promise<T>): Promise<T> {
    const known = this.#touch(plan.destination);
    known.opening += 1;
    try {
      return await work();
    } finally {
      known.opening -= 1;
    }
  }

  /** A Hello was answered after so many ms: the round trip, where the transport does not measure it. */
  answered(plan: Plan, helloMs: number): void {
    this.#of(plan).helloMs = helloMs;
  }

  rows(): UpstreamRow[] {
    const { connections, roundTripMs, spares, warmSinceMs, streams } = this.#options;
    this.#clear();
    const now = Date.now();
    return [...this.#known].map(([address, known]) => {
      const warmSince = warmSinceMs(known.route);
      const warm = warmSince !== undefined;
      const trip = roundTripMs(known.route) ?? known.helloMs;
      return {
        address,
        target: known.target,
        transport: known.route.transport,
        ...known.candidate,
        state: this.#stateOf(known, warm),
        ...(known.failingSinceMs === undefined ? {} : { failingSinceMs: known.failingSinceMs }),
        ...(known.lastStreamMs === undefined ? {} : { lastStreamMs: known.lastStreamMs }),
        ...(trip === undefined ? {} : { roundTripMs: Math.round(trip * 10) / 10 }),
        spares: spares(address),
        connections: connections.held(address),
        warm,
        ...(warmSince === undefined ? {} : { warmSinceMs: warmSince }),
        streams: streams(address),
        ...shownError(known, now),
      };
    });
  }

  #clear(): void {
    const { connections, streams, warmSinceMs } = this.#options;
    for (const [address, { left, opening, route }] of this.#known) {
      const unused = opening === 0 && streams(address) === 0 && connections.held(address) === 0;
      const idle = unused && warmSinceMs(route) === undefined;
      if (left && idle) this.#known.delete(address);
    }
  }

  #stateOf(known: Known, warm: boolean): UpstreamRow['state'] {
    if (known.failingSinceMs !== undefined) return 'failing';
    if (warm) return 'warm';
    return known.opening > 0 || this.#options.isDialling(known.route) ? 'connecting' : 'cold';
  }

  /** What is known of a server that somebody has come to: nothing new leads there by that. */
  #of(plan: Plan): Known {
    return this.#known.get(plan.destination.address) ?? this.#touch(plan.destination);
  }

  /** Somebody comes to a server. Of one that was left that may be a request which began before: only an answer from there says that it is not left. */
  #touch(destination: Destination): Known {
    const { address } = destination;
    const known: Known = this.#known.get(address) ?? {
      route: destination.route,
      target: askedFor(destination),
      contexts: new Set(),
      candidate: undefined,
      lastError: undefined,
      failingSinceMs: undefined,
      lastStreamMs: undefined,
      helloMs: undefined,
      opening: 0,
      link: undefined,
      left: false,
    };
    if (known.target !== askedFor(destination)) known.contexts.clear();
    known.target = askedFor(destination);
    known.contexts.delete(destination.context);
    known.contexts.add(destination.context);
    const [longestAgo] = known.contexts;
    if (known.contexts.size > MAX_CONTEXTS && longestAgo !== undefined) known.contexts.delete(longestAgo);
    known.route = destination.route;
    known.link = destination.link;
    this.#known.delete(address);
    this.#known.set(address, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    return known;
  }
}
