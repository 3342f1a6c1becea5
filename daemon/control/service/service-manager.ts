// What control tells the service manager: ready, reloading, stopping, its state in words, and that it still works.
import type { Env } from '../../base/paths.ts';
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import type { Health, StatusProblem } from '../../api/answers.ts';
import { managerEnds } from './manager-ends.ts';
import { notifySocket, type Notify } from './notify-socket.ts';

export interface ServiceManagerOptions {
  /** Undefined when no manager wants to be told. */
  readonly notify: Notify | undefined;
  /** ms within which the manager wants to hear that this process works; undefined when it does not. */
  readonly watchdogMs: number | undefined;
  /** It listens on the sockets of the daemon, and starts it at the next connection. */
  readonly listens: boolean;
  readonly clock: Clock;
  /** Whether the manager itself ends. */
  readonly isEnding: () => Promise<boolean>;
}

/** What the manager is told about. */
export interface Told {
  /** Whether control answers on its own socket. */
  readonly isAnswering: () => Promise<boolean>;
  /** The state in a few words. */
  readonly state: () => string;
}

/** A look comes this often in the time of the watchdog, so that one late look does no harm. */
const LOOKS = 3;

/** Lifecycle: silent -> ready (watched) -> stopping. */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  #told: Told | undefined;
  #lastState = '';
  #stopLooking: (() => void) | undefined;
  #isStopping = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
  }

  get listens(): boolean {
    return this.#options.listens;
  }

  /** Target sockets listen. From now on control is asked regularly whether it answers. */
  ready(told: Told): void {
    const { notify, watchdogMs, clock } = this.#options;
    if (this.#isStopping || notify === undefined) return;
    this.#told = told;
    this.#lastState = told.state();
    notify(['READY=1', `STATUS=${this.#lastState}`]);
    if (watchdogMs === undefined) return;
    this.#stopLooking = clock.every(watchdogMs / LOOKS, () => void this.#look());
  }

  /** Runs `work`, and tells the manager when it begins and ends. */
  async reloading(work: () => Promise<void>): Promise<void> {
    const { notify } = this.#options;
    const micros = process.hrtime.bigint() / 1000n;
    notify?.(['RELOADING=1', `MONOTONIC_USEC=${String(micros)}`, 'STATUS=reloading']);
    try {
      await work();
    } finally {
      this.#lastState = this.#told?.state() ?? 'starting';
      if (!this.#isStopping) notify?.(['READY=1', `STATUS=${this.#lastState}`]);
    }
  }

  /** Whether the manager itself ends: what its services leave behind ends then, too. */
  isEnding(): Promise<boolean> {
    return this.#options.isEnding();
  }

  /** Safe to call twice. */
  stopping(): void {
    this.#stopLooking?.();
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#options.notify?.(['STOPPING=1', 'STATUS=stopping']);
  }

  async #look(): Promise<void> {
    const told = this.#told;
    if (told === undefined || !(await told.isAnswering()) || this.#isStopping) return;
    const state = told.state();
    const isNew = state !== this.#lastState;
    this.#lastState = state;
    this.#options.notify?.(['WATCHDOG=1', ...(isNew ? [`STATUS=${state}`] : [])]);
  }
}

/** The socket and the time of the watchdog that the manager gave to process `pid`: sd_notify(3), sd_watchdog_enabled(3). */
export function wantedBy(
  env: Env,
  pid: number,
): { readonly socket: string | undefined; readonly watchdogMs: number | undefined } {
  const { NOTIFY_SOCKET: socket = '', WATCHDOG_USEC: micros = '', WATCHDOG_PID: meant = '' } = env;
  const isMeant = meant === '' || meant === String(pid);
  const ms = /^\d+$/.test(micros) ? Number(micros) / 1000 : 0;
  return {
    socket: /^[/@]/.test(socket) ? socket : undefined,
    watchdogMs: isMeant && ms > 0 ? ms : undefined,
  };
}

/** The manager that has started this process, if one has. */
export function serviceManager(env: Env, parent: number, listens: boolean): ServiceManager {
  const { socket, watchdogMs } = wantedBy(env, process.pid);
  return new ServiceManager({
    notify: socket === undefined ? undefined : notifySocket(socket),
    watchdogMs,
    listens,
    clock: SYSTEM_CLOCK,
    isEnding: () => managerEnds(env, parent),
  });
}

/** The state in one line, for `systemctl status`. */
export function stateText(of: {
  readonly health: () => Health;
  readonly problems: () => readonly StatusProblem[];
}): string {
  const [first] = of.problems();
  if (first === undefined) return of.health().state;
  return `${of.health().state}: ${first.failure.detail.split('\n', 1)[0] ?? ''}`;
}

/** `env` without what the manager has given to this process alone. Engines and their programs must not speak for it. */
export function withoutManager(env: Env): Env {
  const { NOTIFY_SOCKET: _socket, WATCHDOG_USEC: _micros, WATCHDOG_PID: _pid, ...rest } = env;
  return rest;
}
