// Ends control when nobody has used the daemon for the time of the setting `idle_exit`, where a service manager listens on its sockets: the next
// command starts it again (docs/decisions/idle-exit.md).
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { SingleFlight } from '../../base/async/single-flight.ts';
import { textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { EngineRow, UpstreamRow } from '../../api/answers.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { ServiceManager } from './service-manager.ts';

/** ms between two looks. The idle time is a number of looks: a machine that sleeps does not use it up. */
const LOOK_MS = 10_000;

export interface IdleExitOptions {
  readonly settings: () => Pick<Settings, 'idle_exit' | 'targets'>;
  readonly manager: Pick<ServiceManager, 'listens'>;
  /** The end of this process ends its engines, and with them a stream that opens at this moment. */
  readonly takesEnginesAlong: boolean;
  readonly engines: {
    readonly directory: {
      survey(): Promise<{
        readonly engines: readonly Pick<EngineRow, 'streams'>[];
        readonly upstreams: readonly Pick<UpstreamRow, 'lastStreamMs' | 'lastError'>[];
      }>;
    };
  };
  readonly events: { readonly listeners: number };
  readonly log: Pick<Logger, 'info' | 'warn' | 'debug'>;
  /** Ends control; streams go on. */
  readonly leave: () => Promise<void>;
  readonly clock?: Clock;
}

export class IdleExit {
  readonly #options: IdleExitOptions;
  readonly #looks = new SingleFlight<'look', void>();
  readonly #stopLooking: () => void;
  #idleMs = 0;
  /** When a stream was asked for last, ms since 1970. */
  #lastUse = 0;
  #hasTold = false;
  #isClosed = false;

  constructor(options: IdleExitOptions) {
    this.#options = options;
    this.#stopLooking = (options.clock ?? SYSTEM_CLOCK).every(LOOK_MS, () => {
      void this.#looks.run('look', () =>
        this.#look().catch((error: unknown) => {
          this.#idleMs = 0;
          options.log.debug({ err: textOf(error) }, 'idle exit');
        }),
      );
    });
  }

  /** Safe to call twice. */
  close(): void {
    this.#isClosed = true;
    this.#stopLooking();
  }

  async #look(): Promise<void> {
    const { settings, log, leave } = this.#options;
    const { idle_exit: seconds } = settings();
    if (seconds === 'none' || !this.#mayExit()) return;
    this.#idleMs = (await this.#isInUse()) ? 0 : this.#idleMs + LOOK_MS;
    if (this.#idleMs < seconds * 1000 || this.#isClosed) return;
    this.close();
    log.info({ seconds }, 'bmuxd is not used, and exits until the next command');
    await leave();
  }

  #mayExit(): boolean {
    const { manager, takesEnginesAlong, log } = this.#options;
    const mayExit = manager.listens && !takesEnginesAlong;
    if (!mayExit && !this.#hasTold)
      log.warn('idle_exit has no effect: no service manager would start bmuxd again');
    this.#hasTold = true;
    return mayExit;
  }

  /** A stream is live or was asked for since the last look, somebody follows the events, or a target is to be kept warm. */
  async #isInUse(): Promise<boolean> {
    const { settings, events, engines } = this.#options;
    const survey = await engines.directory.survey();
    const uses = survey.upstreams.flatMap(({ lastStreamMs = 0, lastError }) => [
      lastStreamMs,
      lastError?.atMs ?? 0,
    ]);
    const before = this.#lastUse;
    this.#lastUse = Math.max(before, ...uses);
    return (
      this.#lastUse > before ||
      survey.engines.some(({ streams }) => streams > 0) ||
      events.listeners > 0 ||
      Object.values(settings().targets).some(({ warm }) => warm === true)
    );
  }
}
