// The spares of one upstream: which targets have them, how one is made, and how it is checked.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/async/clock.ts';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Candidate } from '../../hello/candidates.ts';
import { greetingKey, type Greeting } from '../../hello/hello-cache.ts';
import type { PendingPing } from '../../hello/health-check.ts';
import { Spares, type SpareFactory } from '../../spares/spares.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import {
  askedFor,
  type Destination,
  type Plan,
  type Route,
  type SshRoute,
  type TlsRoute,
} from '../../engine-protocol/plan.ts';
import { MAX_SPARES, targetSettings, type Settings } from '../../config/settings/table.ts';
import type { OpenedStream } from './dialler.ts';
import { asSpare, type SpareStream } from './spare-stream.ts';
import { unattended } from './upstream-ssh.ts';

/** Targets of one server that are remembered as warmed on request. */
const MAX_WARMED = 64;
/** Longest rest before the next spare is made, ms. */
const MAX_REST_MS = 250;
/** Sessions over SSH that spares leave to callers, where the host takes few. */
const FOR_CALLERS = 2;

/** A spare that is handed out. */
export interface TakenSpare extends Omit<OpenedStream, 'warm'> {
  readonly roundTripMs: number | undefined;
  readonly pending: PendingPing | undefined;
}

export interface UpstreamSparesOptions {
  readonly settings: () => Settings;
  /** Number of connections of the server that are held, or that a dial under way will take. */
  readonly taken: () => number;
  /** Sessions that the host of a login takes from this engine; Infinity while it has refused none. */
  readonly sessions: (route: SshRoute) => number;
  /** Opens a stream whose Hello the server has answered. */
  readonly open: (plan: Plan, candidate: Candidate, signal: AbortSignal) => Promise<OpenedStream>;
  /** The candidate in the protocol cache. */
  readonly candidate: () => Candidate | undefined;
  /** A key of what a TLS gateway is verified against now: it changes with a certificate file. */
  readonly trustOf: (route: TlsRoute, label: string) => Promise<string>;
  readonly end: (stream: Duplex) => void;
  /** Called with the round trip of each health check, ms. */
  readonly measured: (roundTripMs: number) => void;
  /** Called with the result of each attempt to make a spare. */
  readonly tried: (destination: Destination, failure?: Failure) => void;
  readonly log: (what: string, details: Readonly<Record<string, unknown>>) => void;
  /**
   * For each target that is kept warm, the key of its latest use at any server. Only its spares of this key are kept beyond `warmth.spare_ttl`.
   * All upstreams share the map.
   */
  readonly keptKeys: LruMap<string, string>;
  readonly clock: Clock;
}

/**
 * There are spares for TLS and SSH, where a stream takes round trips before its Hello. An iroh stream on a warm connection and a local one do
 * not.
 */
export class UpstreamSpares {
  readonly #options: UpstreamSparesOptions;
  readonly #spares: Spares<SpareStream>;
  /** Until when a target has a spare at any distance because somebody has warmed it, by target, ms by the clock. */
  readonly #warmedUntil = new LruMap<string, number>(MAX_WARMED);
  /** Requests that wait for a spare. */
  #taking = 0;

  constructor(options: UpstreamSparesOptions) {
    const { settings, taken, end, log, clock } = options;
    this.#options = options;
    this.#spares = new Spares({
      ttlMs: () => settings()['warmth.spare_ttl'] * 1000,
      mayHold: () => taken() < settings()['warmth.max_connections'],
      end,
      log,
      clock,
    });
  }

  /** A live spare for this Hello, after at most `patienceMs`; undefined without one. The call counts as a use, and another spare is made. */
  async take(plan: Plan, greeting: Greeting, patienceMs: number): Promise<TakenSpare | undefined> {
    this.#taking += 1;
    try {
      return await this.#take(plan, greeting, patienceMs);
    } finally {
      this.#taking -= 1;
    }
  }

  async #take(plan: Plan, greeting: Greeting, patienceMs: number): Promise<TakenSpare | undefined> {
    const deadline = new Deadline(patienceMs);
    // A certificate file may be on a disk that does not answer. The dial that follows reports that.
    const trust = await inTime(this.#trustOf(plan), patienceMs, () => new Error('late')).catch(
      () => undefined,
    );
    if (trust === undefined) return undefined;
    const spare = await this.#spares.take(this.#use(plan, greeting, trust), deadline.remaining());
    if (spare === undefined) return undefined;
    const { stream, candidate, negotiated } = spare;
    return { stream, candidate, negotiated, roundTripMs: spare.roundTripMs(), pending: spare.pending() };
  }

  /**
   * A stream was opened without a spare: `openMs` is the time for that, `roundTripMs` the part of the Hello. `pinned`: see `TransportStream`.
   * The spares are made and kept by that route, as the next request has it.
   */
  used(plan: Plan, greeting: Greeting, openMs: number, roundTripMs: number, pinned?: Route): void {
    const { route } = plan.destination;
    const ofNext = { ...plan, destination: { ...plan.destination, route: pinned ?? route } };
    this.#trustOf(ofNext).then(
      (trust) => {
        if (trust !== undefined) this.#spares.used(this.#use(ofNext, greeting, trust), openMs, roundTripMs);
      },
      (error: unknown) => {
        this.#options.log('no spare', { err: textOf(error) });
      },
    );
  }

  /** Somebody warms the target: for `warmth.spare_ttl` it has a spare also where the server is near. */
  warmed(destination: Destination): void {
    const { clock, settings } = this.#options;
    this.#warmedUntil.set(askedFor(destination), clock.now() + settings()['warmth.spare_ttl'] * 1000);
  }

  /** The target was dropped: nobody wants it warm any more. */
  cooled(destination: Destination): void {
    this.#warmedUntil.delete(askedFor(destination));
  }

  /** A target is kept warm: its spares by a former route, or with a former trust, expire from now on after `warmth.spare_ttl`. */
  review(plan: Plan): void {
    const { keptKeys, log } = this.#options;
    const target = askedFor(plan.destination);
    this.#trustOf(plan).then(
      (trust) => {
        const isCurrent =
          trust !== undefined && keptKeys.peek(target)?.startsWith(trustKey(plan, trust)) === true;
        if (!isCurrent) keptKeys.delete(target);
      },
      (error: unknown) => {
        log('trust not known', { err: textOf(error) });
      },
    );
  }

  /** True when there are spares, or none are wanted for this target at this round trip (ms). */
  areKept({ destination }: Plan, roundTripMs: number): boolean {
    const wanted =
      this.#options.settings()['warmth.spare_ttl'] > 0 && this.#maxFor(destination, roundTripMs) > 0;
    return !wanted || this.#spares.areKept;
  }

  /** True while a request waits for a spare. */
  get isAwaited(): boolean {
    return this.#taking > 0;
  }

  get count(): number {
    return this.#spares.count;
  }

  get sinceMs(): number | undefined {
    return this.#spares.sinceMs;
  }

  markStale(): void {
    this.#spares.markStale();
  }

  /** Releases spares when more connections are taken than `warmth.max_connections`. */
  makeRoom(): void {
    const beyond = this.#options.taken() - this.#options.settings()['warmth.max_connections'];
    if (beyond > 0) this.#spares.giveBack(beyond);
  }

  drop(): void {
    this.#spares.drop();
  }

  close(): void {
    this.#spares.close();
  }

  /** After `close`: resolves when no spare is being made any more. Never rejects. */
  over(): Promise<void> {
    return this.#spares.over();
  }

  /** See `UpstreamSparesOptions.trustOf`. Undefined for a transport without spares, and when a file cannot be read, which the dial reports. */
  async #trustOf({ destination }: Plan): Promise<string | undefined> {
    // A login is trusted by what its route says.
    if (destination.route.transport === 'ssh') return '';
    if (destination.route.transport !== 'tls') return undefined;
    return this.#options.trustOf(destination.route, destination.label).catch(() => undefined);
  }

  /** The spare factory of this use; its key is the latest of the target from now on. */
  #use(plan: Plan, greeting: Greeting, trust: string): SpareFactory<SpareStream> {
    const factory = this.#factory(plan, greeting, trust);
    if (this.#isKeptWarm(plan.destination))
      this.#options.keptKeys.set(askedFor(plan.destination), factory.key);
    return factory;
  }

  #isKeptWarm(destination: Destination): boolean {
    return targetSettings(this.#options.settings(), destination).warm === true;
  }

  #factory(plan: Plan, greeting: Greeting, trust: string): SpareFactory<SpareStream> {
    const { destination } = plan;
    const key = `${trustKey(plan, trust)}${greetingKey(greeting)}`;
    return {
      key,
      keep: () => this.#isKeptWarm(destination) && this.#options.keptKeys.peek(askedFor(destination)) === key,
      max: (roundTripMs) => this.#maxFor(destination, roundTripMs),
      restMs,
      make: (signal) => this.#make(plan, greeting, signal),
    };
  }

  async #make(plan: Plan, greeting: Greeting, signal: AbortSignal): Promise<SpareStream> {
    const { candidate: known, open, tried } = this.#options;
    const candidate = known();
    // A spare of another epoch would have another Hello on it than the client's.
    if (candidate?.epoch !== greeting.contract.epoch)
      throw fail('optimistic_open_failed', { why: 'the epoch of the server is not the one of the spare' });
    const { revisions, capabilities } = greeting.contract;
    const contract = { epoch: candidate.epoch, revisions, capabilities: [...capabilities] };
    const own: Plan = {
      ...unattended(plan),
      client: { ...plan.client, contract },
      budgetMs: plan.destination.connectTimeoutMs,
    };
    const { stream, negotiated, hasMoved } = await open(own, candidate, signal).catch((error: unknown) => {
      const failure = asFailure(error);
      if (!signal.aborted) tried(plan.destination, failure);
      // A bridge does not tell that its server has gone, so the other spares look alive.
      if (failure.code === 'ssh_server_not_running') this.drop();
      throw failure;
    });
    tried(plan.destination);
    return asSpare({ stream, candidate, negotiated, hasMoved }, this.#options.measured);
  }

  #maxFor(destination: Destination, roundTripMs: number): number {
    const { spares = 'auto', warm } = targetSettings(this.#options.settings(), destination);
    if (spares !== 'auto') return spares;
    const isFar = roundTripMs >= this.#options.settings()['warmth.min_round_trip'];
    if (warm === false) return 0;
    // Over SSH a stream also waits for a process there.
    if (destination.route.transport === 'ssh') return this.#maxOverSsh(destination.route);
    if (isFar) return MAX_SPARES;
    return (this.#warmedUntil.peek(askedFor(destination)) ?? 0) > this.#options.clock.now() ? 1 : 0;
  }

  /** A host with a small MaxSessions would refuse a caller whose session a spare has. */
  #maxOverSsh(route: SshRoute): number {
    const { sessions, taken } = this.#options;
    const others = taken() - this.#spares.held;
    return Math.max(0, Math.min(MAX_SPARES, sessions(route) - FOR_CALLERS - others));
  }
}

/**
 * The next spare is made after the first answer on this one: to start a process, or to shake hands, keeps the engine from handing it over. A
 * client that needs another stream before that opens it as fast without a spare.
 */
function restMs(roundTripMs: number): number {
  return Math.min(MAX_REST_MS, 1.25 * roundTripMs + 10);
}

/**
 * The beginning of the keys of all spares by one route with one trust. So a spare is never handed out for another server name, CA file or
 * content of a CA file.
 */
function trustKey(plan: Plan, trust: string): string {
  const { route } = plan.destination;
  // The agents and tickets of the callers matter to a login only, which all of them share.
  const nobodys = { agentSocket: undefined, earlierAgents: undefined, tickets: undefined };
  const own = route.transport === 'ssh' ? { ...route, ...nobodys } : route;
  return `${JSON.stringify(own)}|${trust}|`;
}
