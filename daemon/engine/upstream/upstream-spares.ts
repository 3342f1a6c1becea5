// The spares of one upstream: whether its targets are worth one, how one is made, and how its health is checked.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/async/clock.ts';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import type { LruMap } from '../../base/lru-map.ts';
import type { Candidate } from '../../hello/candidates.ts';
import { greetingKey, type Greeting } from '../../hello/hello-cache.ts';
import { HealthCheck, type PendingPing } from '../../hello/health-check.ts';
import { Spares, type ReadyStream, type SpareFactory } from '../../spares/spares.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { askedFor, type Destination, type Plan, type TlsRoute } from '../../engine-protocol/plan.ts';
import { MAX_SPARES, targetSettings, type Settings } from '../../config/settings/table.ts';
import type { OpenedStream } from './dialler.ts';

/** ms: below this round trip a spare saves less than a connection of the server is worth, as with most local networks. */
const WORTH_MS = 5;

interface Spare extends ReadyStream, Omit<OpenedStream, 'stream' | 'warm'> {
  /** ms, as its last check measured it; undefined before the first. */
  readonly roundTripMs: () => number | undefined;
  /** The Ping that was under way when it was handed out. */
  readonly pending: () => PendingPing | undefined;
}

/** A spare that is handed out. */
export interface TakenSpare extends Omit<OpenedStream, 'warm'> {
  readonly roundTripMs: number | undefined;
  readonly pending: PendingPing | undefined;
}

export interface UpstreamSparesOptions {
  readonly settings: () => Settings;
  /** Connections of the server that are held, or that a dial under way will take. */
  readonly taken: () => number;
  /** A stream whose Hello was really answered, opened in the background. */
  readonly open: (plan: Plan, candidate: Candidate, signal: AbortSignal) => Promise<OpenedStream>;
  /** What the server spoke last. */
  readonly candidate: () => Candidate | undefined;
  /** What a TLS gateway is verified against now, as a key: it changes when a certificate file does. */
  readonly trustOf: (route: TlsRoute, label: string) => Promise<string>;
  readonly end: (stream: Duplex) => void;
  /** Called with the result of each try to make a spare. */
  readonly tried: (failure?: Failure) => void;
  readonly log: (what: string, details: Readonly<Record<string, unknown>>) => void;
  /**
   * By target that is kept warm: the key of its latest use, at whichever server that was. Of all its spares only those of this key are kept
   * beyond `warmth.spare_ttl`. All upstreams share it.
   */
  readonly keptKeys: LruMap<string, string>;
  readonly clock: Clock;
}

/** Spares exist only where a stream costs round trips before its Hello. Iroh streams are free on a warm connection, a local server is near. */
export class UpstreamSpares {
  readonly #options: UpstreamSparesOptions;
  readonly #spares: Spares<Spare>;
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

  /** A living spare for this Hello, waited for at most `patienceMs`. The call counts as a use, and another spare is made. */
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
    // A certificate file may be on a disk that does not answer; the dial that follows reports that.
    const trust = await inTime(this.#trustOf(plan), patienceMs, () => new Error('late')).catch(
      () => undefined,
    );
    if (trust === undefined) return undefined;
    const spare = await this.#spares.take(this.#use(plan, greeting, trust), deadline.remaining());
    if (spare === undefined) return undefined;
    const { stream, candidate, negotiated } = spare;
    return { stream, candidate, negotiated, roundTripMs: spare.roundTripMs(), pending: spare.pending() };
  }

  /** A stream was opened without a spare. `openMs`, `roundTripMs`: the time for that in all, and for its Hello alone. */
  used(plan: Plan, greeting: Greeting, openMs: number, roundTripMs: number): void {
    this.#trustOf(plan).then(
      (trust) => {
        if (trust !== undefined) this.#spares.used(this.#use(plan, greeting, trust), openMs, roundTripMs);
      },
      (error: unknown) => {
        this.#options.log('no spare', { err: textOf(error) });
      },
    );
  }

  /** A target is kept warm: spares that were kept for another route to it, or with another trust, expire like any other. */
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

  /** True when nothing needs to be done for this target's spares: there are some, or none are wanted at this round trip (ms). */
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

  /** A stream of a caller is being dialled: spares beyond the bound are released before it arrives at the server. */
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

  /** After `close`: resolves when no spare is being made any more, and all are being ended. Never rejects. */
  over(): Promise<void> {
    return this.#spares.over();
  }

  /** What the gateway is verified against now; undefined where nothing is, or when that cannot be told, which the dial reports. */
  async #trustOf({ destination }: Plan): Promise<string | undefined> {
    if (destination.route.transport !== 'tls') return undefined;
    return this.#options.trustOf(destination.route, destination.label).catch(() => undefined);
  }

  /** Notes a use of the target, with this key. */
  #use(plan: Plan, greeting: Greeting, trust: string): SpareFactory<Spare> {
    const factory = this.#factory(plan, greeting, trust);
    if (this.#isKeptWarm(plan.destination))
      this.#options.keptKeys.set(askedFor(plan.destination), factory.key);
    return factory;
  }

  #isKeptWarm(destination: Destination): boolean {
    return targetSettings(this.#options.settings(), destination).warm === true;
  }

  #factory(plan: Plan, greeting: Greeting, trust: string): SpareFactory<Spare> {
    const { destination } = plan;
    const key = `${trustKey(plan, trust)}${greetingKey(greeting)}`;
    return {
      key,
      keep: () => this.#isKeptWarm(destination) && this.#options.keptKeys.peek(askedFor(destination)) === key,
      max: (roundTripMs) => this.#maxFor(destination, roundTripMs),
      make: (signal) => this.#make(plan, greeting, signal),
    };
  }

  async #make(plan: Plan, greeting: Greeting, signal: AbortSignal): Promise<Spare> {
    const { candidate: known, open, tried } = this.#options;
    const candidate = known();
    // A spare of another epoch would have another Hello on it than the client's.
    if (candidate?.epoch !== greeting.contract.epoch)
      throw fail('optimistic_open_failed', { why: 'the epoch of the server is not the one of the spare' });
    const { revisions, capabilities } = greeting.contract;
    const contract = { epoch: candidate.epoch, revisions, capabilities: [...capabilities] };
    const own: Plan = {
      ...plan,
      client: { ...plan.client, contract },
      budgetMs: plan.destination.connectTimeoutMs,
    };
    const { stream, negotiated } = await open(own, candidate, signal).catch((error: unknown) => {
      const failure = asFailure(error);
      if (!signal.aborted) tried(failure);
      throw failure;
    });
    tried();
    return asSpare({ stream, candidate, negotiated });
  }

  #maxFor(destination: Destination, roundTripMs: number): number {
    const { spares = 'auto', warm } = targetSettings(this.#options.settings(), destination);
    if (spares !== 'auto') return spares;
    return warm === false || roundTripMs < WORTH_MS ? 0 : MAX_SPARES;
  }
}

function asSpare({ stream, candidate, negotiated }: Omit<OpenedStream, 'warm'>): Spare {
  const health = new HealthCheck(stream, candidate.epoch);
  let pending: PendingPing | undefined;
  return {
    stream,
    candidate,
    negotiated,
    check: (timeoutMs) => health.check(timeoutMs),
    release: () => {
      pending = health.release();
      return pending !== undefined;
    },
    roundTripMs: () => health.roundTripMs,
    pending: () => pending,
  };
}

/**
 * The beginning of the keys of all spares by one route with one trust. A spare is never handed out across another server name, CA file or its
 * content, or principal.
 */
function trustKey(plan: Plan, trust: string): string {
  return `${JSON.stringify(plan.destination.route)}|${trust}|`;
}
