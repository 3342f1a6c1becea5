// What control knows of whether one engine works: the status that it sends, and the checks that have found no answer.
import { LIMITS } from '../../base/limits.ts';
import { isEngineStatus } from '../../api/answer-shapes.ts';
import { isLack, isSilence } from '../../sockets/http-request.ts';

/** Checks without an answer after which another engine takes over. One alone may only mean that the machine is busy. */
const MISSES = 2;
/** The same for checks that found no socket. A working engine binds a removed socket again, so this takes longer to tell. */
const MISSES_UNFOUND = 5;
/** Rounds after which the socket of an engine is checked that is not silent. */
const SOCKET_ROUNDS = 16;
/** An engine whose status is older than this is asked. Usually it is `LIMITS.statusLateMs` old at each round. */
const SILENT_MS = LIMITS.heartbeatMs / 2;

/** All times are ms by one clock. */
export class EngineHealth {
  #heardAt: number;
  /** Checks without an answer since the engine was heard. */
  #missed = 0;
  /** Checks that could not connect to its socket, since the last one with an answer. */
  #unfound = 0;
  #rounds = 0;
  #streams = 0;
  #told: unknown;

  constructor(now: number) {
    this.#heardAt = now;
  }

  /** The last check has found no answer, and the engine was not heard since. One such check decides nothing. */
  get isDoubtful(): boolean {
    return this.#missed > 0;
  }

  /** It has been given up because it is silent, and was not heard since. */
  get isHanging(): boolean {
    return this.#missed >= MISSES;
  }

  /** Its live streams, as it has told last. */
  get streams(): number {
    return this.#streams;
  }

  /** It has told its status, or nothing when that is the same as before. Returns the status. */
  told(status: unknown): unknown {
    this.#told = status ?? this.#told;
    return this.#told;
  }

  /** Its status has come. */
  heard(now: number, status?: unknown): void {
    this.#heardAt = now;
    this.#missed = 0;
    if (isEngineStatus(status)) this.#streams = status.engine.streams;
  }

  /** A check was answered. */
  answered(now: number): void {
    this.heard(now);
    this.#unfound = 0;
  }

  /** Whether a check is due in this round: the engine is silent, the last check found no socket, or it is time to try the socket. */
  isDue(now: number): boolean {
    this.#rounds += 1;
    return (
      Math.abs(now - this.#heardAt) > SILENT_MS || this.#unfound > 0 || this.#rounds % SOCKET_ROUNDS === 0
    );
  }

  /** A check has failed. `isAtWork`: it is only slow, see `EngineLink.watchWork`. `isLost`: another engine is to take over. */
  failed(
    error: unknown,
    isAtWork: boolean,
  ): { readonly missed: number; readonly unfound: number; readonly isLost: boolean } {
    if (isLack(error)) return { missed: this.#missed, unfound: this.#unfound, isLost: false };
    if (!isSilence(error)) this.#unfound += 1;
    else if (isAtWork) this.#missed = 0;
    else this.#missed += 1;
    const isLost = this.isHanging || this.#unfound >= MISSES_UNFOUND;
    return { missed: this.#missed, unfound: this.#unfound, isLost };
  }
}
