// A supervisor of engines over fake processes and a fake clock.
import { pino } from 'pino';
import { EarlyProcess } from '../../../daemon/control/engines/engine-process.ts';
import type { EngineLink } from '../../../daemon/control/engines/engine-link.ts';
import { EngineSocketFiles } from '../../../daemon/control/engines/others/socket-files.ts';
import { EngineSupervisor } from '../../../daemon/control/engines/supervisor.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import type { Failure } from '../../../daemon/base/failure.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { FakeProcess, FIRST_PID } from './fake-process.ts';

export class Rig {
  readonly clock = new FakeClock();
  readonly processes: FakeProcess[] = [];
  readonly ready: EngineLink[] = [];
  readonly gone: string[] = [];
  readonly runtimeDir: { isAway: boolean; lossLevel: 'warn' } = { isAway: false, lossLevel: 'warn' };
  refusal: Failure | undefined;
  /** What the processes write to stderr. */
  stderr = 'out of luck';
  readonly failedStarts: string[] = [];
  /** What the current engine has told of itself. */
  readonly statuses: unknown[] = [];
  /** Errors that the next forks throw. */
  readonly broken: Error[] = [];
  /** Whether no other daemon has taken over. */
  isOurs = true;
  /** The answer of an engine to the health check. */
  ask: () => Promise<unknown> = () => Promise.resolve({});
  readonly #pid: number | undefined;
  readonly #fork = () => {
    const error = this.broken.shift();
    if (error !== undefined) throw error;
    const child = new FakeProcess(this.#pid ?? FIRST_PID + this.processes.length);
    this.processes.push(child);
    return child.process;
  };
  readonly early = new EarlyProcess(this.#fork);
  readonly #sockets = new EngineSocketFiles('/e');
  readonly supervisor = new EngineSupervisor({
    onTrouble: () => undefined,
    clock: this.clock,
    runtimeDir: this.runtimeDir,
    log: pino({ level: 'silent' }),
    isOurs: () => Promise.resolve(this.isOurs),
    refusal: () => this.refusal,
    fork: this.#fork,
    early: this.early,
    stderr: () => this.stderr,
    onFailedStart: (stderr) => {
      this.failedStarts.push(stderr);
    },
    start: () => ({
      generation: this.#sockets.next(this.clock.now()),
      version: '1',
      socketPath: '/e',
      stateDir: '/s',
      controlSocket: '/c',
      settings: defaultSettings(),
    }),
    ask: () => this.ask(),
    handlers: {
      onEvent: () => undefined,
      onTally: () => undefined,
      onLog: () => undefined,
      resolve: () => Promise.reject(new Error('nobody asks')),
      resolveAgain: () => Promise.resolve(undefined),
    },
    onReady: (engine) => {
      this.ready.push(engine);
    },
    onLeave: (_engine, why) => {
      this.gone.push(why);
    },
    onStatus: (_, status) => {
      this.statuses.push(status);
    },
  });

  /** `pid`: of a process that runs, for each engine. */
  constructor(pid?: number) {
    this.#pid = pid;
  }

  last(): FakeProcess {
    const last = this.processes.at(-1);
    if (last === undefined) throw new Error('no process was started');
    return last;
  }
}
