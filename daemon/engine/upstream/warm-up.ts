// The warm-up of one upstream: opens a stream and ends it, so that the next stream finds everything ready.
import { pauseAfter } from '../../base/async/backoff.ts';
import type { Failure, FailureData } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import { askedFor, type Destination, type Plan } from '../../engine-protocol/plan.ts';
import { classOf } from '../../errors/error-class.ts';
import { asFailure } from '../../errors/fail.ts';
import type { Candidate } from '../../hello/candidates.ts';
import { openByDetection, type UpstreamParts } from './open/detection.ts';
import type { UpstreamIroh } from './upstream-iroh.ts';
import { unattended, type UpstreamSsh } from './upstream-ssh.ts';

/** Where the results of warm-ups are recorded. */
export interface WarmUpResults {
  succeeded(destination: Destination, candidate: Candidate): void;
  failed(destination: Destination, failure: FailureData): void;
}

export interface WarmUpOptions {
  readonly parts: UpstreamParts;
  readonly iroh: UpstreamIroh;
  readonly ssh: UpstreamSsh;
  readonly results: WarmUpResults;
  readonly log: Logger;
}

/** Pauses after a refused login. */
const REFUSED = { firstMs: 30_000, lastMs: 30 * 60_000 };

export class WarmUp {
  readonly #options: WarmUpOptions;
  /** Aborts the warm-up that is under way. */
  #underWay: AbortController | undefined;
  /** Logins in a row that an SSH host has refused, and when (performance.now()) the next one may be. */
  #refusals = 0;
  #notBefore = -Infinity;

  constructor(options: WarmUpOptions) {
    this.#options = options;
  }

  /** Keeps spares, and opens a stream unless the upstream is warm, or a warm-up is under way. */
  warm(plan: Plan): void {
    const { spares } = this.#options.parts;
    spares.warmed(plan.destination);
    spares.review(plan);
    this.#start(plan);
  }

  #start(plan: Plan): void {
    if (performance.now() < this.#notBefore) return;
    if (!this.#isNeeded(plan) || this.#underWay?.signal.aborted === false) return;
    const { parts, results, log } = this.#options;
    const abort = new AbortController();
    this.#underWay = abort;
    const over = openByDetection(parts, unattended(plan), abort.signal)
      .then(
        ({ stream, candidate }) => {
          this.#refusals = 0;
          if (!abort.signal.aborted) results.succeeded(plan.destination, candidate);
          void parts.ends.end(stream);
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          const failure = asFailure(error);
          results.failed(plan.destination, failure.data);
          this.#rest(plan, failure);
          const target = askedFor(plan.destination);
          log.info({ target, code: failure.code }, 'could not be warmed');
        },
      )
      .finally(() => {
        if (this.#underWay === abort) this.#underWay = undefined;
      });
    parts.ends.keep(over);
  }

  /** Opens a stream unless one was opened for the target before. Keeps no spares. */
  try(plan: Plan): void {
    if (this.#options.parts.references.of(plan.destination)?.health.hasAnswered !== true) this.#start(plan);
  }

  /** A host that refuses a login may shut out who asks again and again. A caller's own login never waits for this. */
  #rest({ destination: { route } }: Plan, failure: Failure): void {
    if (route.transport !== 'ssh' || !['auth', 'full'].includes(classOf(failure.data))) return;
    this.#notBefore = performance.now() + pauseAfter(this.#refusals, REFUSED);
    this.#refusals += 1;
  }

  /** Aborts the warm-up that is under way, if there is one. */
  abort(): void {
    this.#underWay?.abort();
  }

  /**
   * False when a connection is up or being made. Over TLS and SSH also false when the server has answered, and its spares are kept or none are wanted.
   */
  #isNeeded(plan: Plan): boolean {
    const { parts, iroh, ssh } = this.#options;
    const { references, health, spares } = parts;
    const { route } = plan.destination;
    if (references.isOpening) return false;
    if (route.transport === 'iroh') return !iroh.isWarm(route);
    if (route.transport === 'ssh' && !ssh.isWarm(route)) return true;
    const hasAnswered = references.of(plan.destination)?.health.hasAnswered === true;
    return !(hasAnswered && spares.areKept(plan, health.roundTripMs ?? 0));
  }
}
