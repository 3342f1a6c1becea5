// Whether a server answers: the last stream, the last error, the failures in a row, and the round trip of a Hello.
import type { Clock } from '../../base/async/clock.ts';
import type { FailureData } from '../../base/failure.ts';
import { classOf } from '../../errors/error-class.ts';
import type { UpstreamRow } from '../../api/answers.ts';
import type { Candidate } from '../../hello/candidates.ts';

/** Codes of failures to reach the host. A share link may lead to another host by now: an iroh host has a new endpoint id at each start. */
export const UNREACHABLE: ReadonlySet<string> = new Set([
  'iroh_unreachable',
  'iroh_connect_timeout',
  'iroh_stream_failed',
  'tls_unreachable',
  'tls_connect_timeout',
]);

/** ms that the last error is shown after the server has answered again: a person who saw it asks for the reason. */
const ERROR_SHOWN_MS = 60_000;

export class Health {
  readonly #clock: Clock;
  #candidate: Candidate | undefined;
  #lastStreamMs: number | undefined;
  #lastError: UpstreamRow['lastError'];
  /** The first of the failures in a row. */
  #failingSinceMs: number | undefined;
  #roundTripMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isFailing(): boolean {
    return this.#failingSinceMs !== undefined;
  }

  /** True when a stream was opened, and none failed since. */
  get hasAnswered(): boolean {
    return this.#lastStreamMs !== undefined && !this.isFailing;
  }

  /** ms from Hello to answer, as it was measured last. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** A Hello was answered after so many ms. */
  answered(roundTripMs: number): void {
    this.#roundTripMs = roundTripMs;
  }

  /** A stream was opened. */
  succeeded(candidate: Candidate): void {
    this.#candidate = candidate;
    this.#lastStreamMs = this.#clock.now();
    this.#failingSinceMs = undefined;
  }

  /** A stream could not be opened. */
  failed(failure: FailureData): void {
    const atMs = this.#clock.now();
    this.#lastError = { code: failure.code, class: classOf(failure), detail: failure.detail, atMs };
    this.#failingSinceMs ??= atMs;
  }

  /** The expected answer did not come. Whether the server fails is shown by the stream that is opened next. */
  optimisticOpenFailed(failure: FailureData): void {
    const failing = this.#failingSinceMs;
    this.failed(failure);
    this.#failingSinceMs = failing;
  }

  /**
   * A spare or a reconnect was tried in the background. Only a server that cannot be reached is failing then: any other failure is for the
   * request that meets it. True for the first failure in a row.
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

  /** The part of the upstream's row for the status. */
  get row(): Pick<UpstreamRow, 'epoch' | 'compression' | 'failingSinceMs' | 'lastStreamMs' | 'lastError'> {
    const lastError = this.#shownError();
    return {
      ...this.#candidate,
      ...(this.#failingSinceMs === undefined ? {} : { failingSinceMs: this.#failingSinceMs }),
      ...(this.#lastStreamMs === undefined ? {} : { lastStreamMs: this.#lastStreamMs }),
      ...(lastError === undefined ? {} : { lastError }),
    };
  }

  /** Forgets everything: nobody refers to the server any more. */
  reset(): void {
    this.#candidate = undefined;
    this.#lastStreamMs = undefined;
    this.#lastError = undefined;
    this.#failingSinceMs = undefined;
    this.#roundTripMs = undefined;
  }

  #shownError(): UpstreamRow['lastError'] {
    if (this.#lastError === undefined) return undefined;
    const isShown = this.isFailing || this.#clock.now() - this.#lastError.atMs < ERROR_SHOWN_MS;
    return isShown ? this.#lastError : undefined;
  }
}
