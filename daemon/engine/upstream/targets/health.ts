// The health of one server: what it speaks, and the round trip of a Hello. The health of a target: last stream, last error, whether it is failing.
// Two targets of one server may differ in trust or login, so that one fails alone.
import type { Clock } from '../../../base/async/clock.ts';
import type { FailureData } from '../../../base/failure.ts';
import { classOf } from '../../../errors/error-class.ts';
import type { UpstreamRow } from '../../../api/answers.ts';
import type { Candidate } from '../../../hello/candidates.ts';

/** Codes of failures to reach the host. After one of them a share link is resolved again, since an iroh host has a new endpoint id at each start. */
export const UNREACHABLE: ReadonlySet<string> = new Set([
  'iroh_unreachable',
  'iroh_dns_failed',
  'iroh_connect_timeout',
  'iroh_silent',
  'iroh_relay_unreachable',
  'iroh_stream_failed',
  'tls_unreachable',
  'tls_connect_timeout',
  'ssh_host_unknown',
  'ssh_unreachable',
  'ssh_connect_timeout',
  'ssh_jump_failed',
  'ssh_proxy_failed',
  'ssh_lost',
]);

/** ms for which the last error is shown after the target could be reached again. */
const ERROR_SHOWN_MS = 60_000;

/** Round trips that are compared, and ms for which one counts, since the path may change. The latest one counts until the next. */
const MAX_TRIPS = 8;
const TRIP_COUNTS_MS = 60_000;

export class ServerHealth {
  readonly #clock: Clock;
  #candidate: Candidate | undefined;
  #lacksZstd = false;
  #hasRefused = false;
  /** The latest measured round trips, the oldest first. */
  #trips: { readonly ms: number; readonly atMs: number }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The protocol of the last stream. */
  get candidate(): Candidate | undefined {
    return this.#candidate;
  }

  /** The shortest of the latest round trips, ms. A Hello may also wait for the server, as the first one does, so that only it shows the path. */
  get roundTripMs(): number | undefined {
    return this.#trips.length === 0 ? undefined : Math.min(...this.#trips.map(({ ms }) => ms));
  }

  /** A Hello or a Ping was answered after `roundTripMs`. */
  answered(roundTripMs: number): void {
    const atMs = this.#clock.now();
    const recent = this.#trips.filter((trip) => Math.abs(atMs - trip.atMs) < TRIP_COUNTS_MS);
    this.#trips = [...recent, { ms: roundTripMs, atMs }].slice(-MAX_TRIPS);
  }

  /** True when the gateway has answered compressed, which could not be read, and no stream was opened since. */
  get lacksZstd(): boolean {
    return this.#lacksZstd;
  }

  lackedZstd(): void {
    this.#lacksZstd = true;
  }

  /** True when the gateway has refused a stream with a TLS alert, and none was opened since. */
  get hasRefused(): boolean {
    return this.#hasRefused;
  }

  refused(): void {
    this.#hasRefused = true;
  }

  /** A stream was opened. */
  opened(candidate: Candidate): void {
    this.#candidate = candidate;
    this.#lacksZstd = false;
    this.#hasRefused = false;
  }

  /** Back to the state of a new object, when the server has no reference any more. */
  reset(): void {
    this.#candidate = undefined;
    this.#lacksZstd = false;
    this.#hasRefused = false;
    this.#trips = [];
  }
}

export class TargetHealth {
  readonly #clock: Clock;
  #lastStreamMs: number | undefined;
  #lastError: UpstreamRow['lastError'];
  /** When the first of the failures in a row was; undefined when the target is not failing. */
  #failingSinceMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isFailing(): boolean {
    return this.#failingSinceMs !== undefined;
  }

  /** True when a stream was opened, and no attempt has failed since. */
  get hasAnswered(): boolean {
    return this.#lastStreamMs !== undefined && !this.isFailing;
  }

  forgetFailure(): void {
    this.#lastError = undefined;
    this.#failingSinceMs = undefined;
  }

  /** A stream was opened. */
  succeeded(): void {
    this.#lastStreamMs = this.#clock.now();
    this.#failingSinceMs = undefined;
  }

  /** A stream could not be opened. A lack of file descriptors tells nothing of the target. */
  failed(failure: FailureData): void {
    if (failure.code === 'files_exhausted') return;
    const atMs = this.#clock.now();
    this.#lastError = { code: failure.code, class: classOf(failure), detail: failure.detail, atMs };
    this.#failingSinceMs ??= atMs;
  }

  /** The expected answer did not come. That alone does not make the target failing: the next stream decides that. */
  optimisticOpenFailed(failure: FailureData): void {
    const failing = this.#failingSinceMs;
    this.failed(failure);
    this.#failingSinceMs = failing;
  }

  /**
   * Records the result of a spare or a reconnect. Only a failure to reach the server makes the target failing; any other failure is reported by
   * the next request that gets it. Returns true for the first failure in a row.
   */
  triedInBackground(failure?: FailureData): boolean {
    if (failure === undefined) {
      this.#failingSinceMs = undefined;
      return false;
    }
    if (!UNREACHABLE.has(failure.code)) return false;
    const first = !this.isFailing;
    this.failed(failure);
    return first;
  }

  /** The part of the target's row for the status. */
  get row(): Pick<UpstreamRow, 'failingSinceMs' | 'lastStreamMs' | 'lastError'> {
    const lastError = this.#shownError();
    return {
      ...(this.#failingSinceMs === undefined ? {} : { failingSinceMs: this.#failingSinceMs }),
      ...(this.#lastStreamMs === undefined ? {} : { lastStreamMs: this.#lastStreamMs }),
      ...(lastError === undefined ? {} : { lastError }),
    };
  }

  #shownError(): UpstreamRow['lastError'] {
    if (this.#lastError === undefined) return undefined;
    const isShown = this.isFailing || this.#clock.now() - this.#lastError.atMs < ERROR_SHOWN_MS;
    return isShown ? this.#lastError : undefined;
  }
}
