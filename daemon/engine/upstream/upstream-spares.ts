// The engine's spares: which targets are worth one, how one is made, and how it is proven alive.
import type { Duplex } from 'node:stream';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import type { Candidate } from '../../hello/candidates.ts';
import type { Negotiated } from '../../hello/handshake.ts';
import { greetingKey, type Greeting } from '../../hello/hello-cache.ts';
import { HealthCheck, type PendingPing } from '../../hello/ping.ts';
import { Spares, type ReadyStream, type SpareFactory } from '../../spares/spares.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { askedFor, type Plan, type TlsRoute } from '../../engine-protocol/plan.ts';
import { MAX_SPARES, targetSettings, type Settings } from '../../config/settings/table.ts';
import type { Opened } from './opened.ts';

/** A round trip below this costs less than a place at the server is worth, ms: loopback and most local networks. */
const WORTH_MS = 5;

interface Spare extends ReadyStream {
  readonly candidate: Candidate;
  readonly negotiated: Negotiated;
  /** ms, as its last proof measured it; undefined before the first. */
  readonly roundTripMs: () => number | undefined;
  /** The Ping that was on its way when it was handed out. */
  readonly pending: () => PendingPing | undefined;
}

/** A spare that is handed out. */
export interface HandedOut extends Omit<Opened, 'warm'> {
  readonly roundTripMs: number | undefined;
  readonly pending: PendingPing | undefined;
}

export interface UpstreamSparesOptions {
  readonly settings: () => Settings;
  /** Places at a server that are held, or that a dial under way will take. */
  readonly taken: (address: string) => number;
  /** A stream with a really answered Hello, opened in the background. */
  readonly open: (plan: Plan, candidate: Candidate, signal: AbortSignal) => Promise<Opened>;
  /** What won at an address. */
  readonly candidateOf: (address: string) => Candidate | undefined;
  /** What a TLS gateway is verified against now, as a key: it changes when a certificate file does. */
  readonly trustOf: (route: TlsRoute, label: string) => Promise<string>;
  readonly end: (stream: Duplex) => void;
  /** Told how each making of a spare ended. */
  readonly tried: (address: string, failure?: Failure) => void;
  readonly log: (what: string, details: Readonly<Record<string, unknown>>) => void;
}

/** Only where a stream costs round trips before its Hello: iroh streams are free on a warm connection, a local server is near. */
export class UpstreamSpares {
  readonly #options: UpstreamSparesOptions;
  readonly #spares: Spares<Spare>;
  /** By target: the key of its newest use. Of all its spares only those are kept by `warm = true`. */
  readonly #newest = new Map<string, string>();

  constructor(options: UpstreamSparesOptions) {
    this.#options = options;
    this.#spares = new Spares({
      ttlMs: () => options.settings()['warmth.spare_ttl'] * 1000,
      mayHold: (address) => options.taken(address) < options.settings()['warmth.max_connections'],
      end: options.end,
      log: options.log,
    });
  }

  /** A living spare for this Hello, waited for at most `patienceMs`; asking for it counts as a use, and asks for the next one. */
  async take(plan: Plan, greeting: Greeting, patienceMs: number): Promise<HandedOut | undefined> {
    const deadline = new Deadline(patienceMs);
    // A certificate file may lie on a disk that does not answer; whoever dials says so.
    const trust = await inTime(this.#trustOf(plan), patienceMs, () => new Error('late')).catch(
      () => undefined,
    );
    if (trust === undefined) return undefined;
    const spare = await this.#spares.take(this.#use(plan, greeting, trust), deadline.remaining());
    if (spare === undefined) return undefined;
    const { stream, candidate, negotiated } = spare;
    return { stream, candidate, negotiated, roundTripMs: spare.roundTripMs(), pending: spare.pending() };
  }

  /** Notes that a stream was opened without a spare. `openMs`, `roundTripMs`: what that took in all, and its Hello alone. */
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

  /** What the gateway is verified against now; undefined where nothing is, or can be. */
  async #trustOf({ destination }: Plan): Promise<string | undefined> {
    if (destination.route.transport !== 'tls') return undefined;
    // Whoever dials says what is wrong with it.
    return this.#options.trustOf(destination.route, destination.label).catch(() => undefined);
  }

  /** A target that is to be kept warm: what was kept for another way to it, or under a trust that has changed, expires like any other. */
  review(plan: Plan): void {
    this.#trustOf(plan).then(
      (trust) => {
        const newest = this.#newest.get(askedFor(plan.destination));
        const current = trust !== undefined && newest?.startsWith(trustKey(plan, trust)) === true;
        if (!current) this.#newest.delete(askedFor(plan.destination));
      },
      (error: unknown) => {
        this.#options.log('trust not known', { err: textOf(error) });
      },
    );
  }

  /** True when nothing needs to be done for this target's spares: there are some, or none are wanted at this round trip (ms). */
  areKept({ destination }: Plan, roundTripMs: number): boolean {
    const wanted =
      this.#options.settings()['warmth.spare_ttl'] > 0 && this.#maxFor(destination, roundTripMs) > 0;
    return !wanted || this.#spares.has(destination.address);
  }

  count(address: string): number {
    return this.#spares.count(address);
  }

  sinceMs(address: string): number | undefined {
    return this.#spares.sinceMs(address);
  }

  markStale(): void {
    this.#spares.markStale();
  }

  /** A stream of somebody is being dialled for: spares that are beyond the bound now give their places back, before it arrives there. */
  makeRoom(address: string): void {
    const beyond = this.#options.taken(address) - this.#options.settings()['warmth.max_connections'];
    if (beyond > 0) this.#spares.giveBack(address, beyond);
  }

  drop(address: string): void {
    this.#spares.drop(address);
  }

  close(): void {
    this.#spares.close();
  }

  /** After `close`: resolves when none is being made any more, and all are being ended. Never rejects. */
  over(): Promise<void> {
    return this.#spares.over();
  }

  /** Notes a use of the target, of this key. */
  #use(plan: Plan, greeting: Greeting, trust: string): SpareFactory<Spare> {
    const factory = this.#recipe(plan, greeting, trust);
    if (this.#isKeptWarm(plan.destination)) this.#newest.set(askedFor(plan.destination), factory.key);
    return factory;
  }

  #isKeptWarm(target: Plan['destination']): boolean {
    return targetSettings(this.#options.settings(), target).warm === true;
  }

  #recipe(plan: Plan, greeting: Greeting, trust: string): SpareFactory<Spare> {
    const { destination } = plan;
    const address = destination.address;
    const key = spareKey(plan, greeting, trust);
    return {
      key,
      address,
      keep: () => this.#isKeptWarm(destination) && this.#newest.get(askedFor(destination)) === key,
      max: (roundTripMs) => this.#maxFor(destination, roundTripMs),
      make: async (signal) => {
        const candidate = this.#options.candidateOf(address);
        // A client of the old epoch would be given a stream on which another Hello was said than its own.
        if (candidate?.epoch !== greeting.contract.epoch)
          throw fail('optimistic_open_failed', {
            why: 'the epoch of the server is not the one of the spare',
          });
        const { revisions, capabilities } = greeting.contract;
        const { stream, negotiated } = await this.#options
          .open(
            {
              ...plan,
              client: {
                ...plan.client,
                contract: { epoch: candidate.epoch, revisions, capabilities: [...capabilities] },
              },
              budgetMs: destination.connectTimeoutMs,
            },
            candidate,
            signal,
          )
          .catch((error: unknown) => {
            const failure = asFailure(error);
            if (!signal.aborted) this.#options.tried(address, failure);
            throw failure;
          });
        this.#options.tried(address);
        return asSpare(stream, candidate, negotiated);
      },
    };
  }

  #maxFor(target: Plan['destination'], roundTripMs: number): number {
    const { spares = 'auto', warm } = targetSettings(this.#options.settings(), target);
    if (spares !== 'auto') return spares;
    return warm === false || roundTripMs < WORTH_MS ? 0 : MAX_SPARES;
  }
}

function asSpare(stream: Duplex, candidate: Candidate, negotiated: Negotiated): Spare {
  const prover = new HealthCheck(stream, candidate.epoch);
  let pending: PendingPing | undefined;
  return {
    stream,
    candidate,
    negotiated,
    check: (timeoutMs) => prover.check(timeoutMs),
    release: () => {
      pending = prover.release();
      return pending !== undefined;
    },
    roundTripMs: () => prover.roundTripMs,
    pending: () => pending,
  };
}

/** Whom one trusts and who one is are part of a spare's key: never across another name, CA file or its content, address or principal. */
function spareKey(plan: Plan, greeting: Greeting, trust: string): string {
  return `${trustKey(plan, trust)}${greetingKey(plan.destination.address, greeting)}`;
}

/** What the keys of all spares of one way under one trust begin with. */
function trustKey(plan: Plan, trust: string): string {
  return `${JSON.stringify(plan.destination.route)}|${trust}|`;
}
