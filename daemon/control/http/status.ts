// Health and status of the daemon, made from data that is already known. No target is contacted; an unreachable server is no problem of the daemon.
import { withoutCredentials } from '../../base/redact.ts';
import type { Failure, FailureData } from '../../base/failure.ts';
import { ownIdentity } from '../../base/process/identity.ts';
import { SCHEMA, type EngineRow, type Health, type Status, type StatusProblem } from '../../api/answers.ts';
import { fail } from '../../errors/fail.ts';
import type { Contexts } from '../contexts/contexts.ts';
import type { Engines } from '../engines/engines.ts';
import { fewFiles } from '../surroundings.ts';

export interface StatusReportOptions {
  readonly engines: Engines;
  readonly contexts: Contexts;
  /** The error in bmuxd.toml, if there is one. */
  readonly settingsProblem: () => Failure | undefined;
  readonly settingsPath: string;
  /** Further parts of control that may be a cause of `degraded`, by their names in the status. */
  readonly parts: Readonly<Record<string, { readonly problem: Failure | undefined }>>;
  readonly socketPath: string;
  readonly version: string;
  readonly sinceMs: number;
  /** Where the log is. */
  readonly log: string;
}

/** Why streams are not accepted while an engine runs. */
const STARTING = fail('engine_unavailable', { why: 'it is starting' });

export class StatusReport {
  readonly #options: StatusReportOptions;
  readonly #identity = ownIdentity();
  /** The limit of a process does not change while it runs, but for prlimit. */
  readonly #fewFiles = fewFiles();

  constructor(options: StatusReportOptions) {
    this.#options = options;
  }

  /** Why streams are not accepted; undefined when they are. */
  notReady(): Failure | undefined {
    const { supervisor, streamsSocket } = this.#options.engines;
    return supervisor.problem ?? (streamsSocket.isAccepted ? undefined : STARTING);
  }

  /** The reasons why the daemon is degraded, except those that only a survey of the engines finds. */
  problems(): StatusProblem[] {
    const { engines, contexts, settingsProblem, settingsPath } = this.#options;
    const { problem, crashes } = engines.supervisor;
    const settings = settingsProblem();
    const few = this.#fewFiles;
    return [
      ...(problem === undefined ? [] : [{ where: 'engine', failure: problem.data }]),
      ...(problem !== undefined || crashes === undefined ? [] : [{ where: 'engine', failure: crashes.data }]),
      ...(settings === undefined ? [] : [{ where: settingsPath, failure: settings.data }]),
      ...contexts.problems(),
      ...(few === undefined ? [] : [{ where: 'open files', failure: few.data }]),
      ...Object.entries(this.#options.parts).flatMap(([where, part]) =>
        part.problem === undefined ? [] : [{ where, failure: part.problem.data }],
      ),
    ];
  }

  health(): Health {
    const { version, sinceMs, log } = this.#options;
    return {
      schema: SCHEMA,
      state: this.#stateWith(this.problems()),
      ...this.#identity,
      version,
      sinceMs,
      log,
    };
  }

  /** Waits for engines at most `LIMITS.surveyMs`. */
  async status(): Promise<Status> {
    const { contexts, socketPath } = this.#options;
    const { directory, supervisor } = this.#options.engines;
    const { engines: found, upstreams, problems: reported } = await directory.survey();
    const engines = found.map((row): EngineRow => {
      // It has bound its socket, and has told nothing yet. One that hangs is replaced by the supervisor.
      const pid = row.pid === 0 ? supervisor.pidOf(row.generation) : undefined;
      return row.state === 'not answering' && pid !== undefined ? { ...row, state: 'starting', pid } : row;
    });
    const lost = this.#options.engines.lost.rows();
    const problems = [
      ...this.problems(),
      ...engines.flatMap((engine) => {
        const failure = this.#problemOf(engine);
        return failure === undefined ? [] : [{ where: `engine ${engine.generation}`, failure }];
      }),
      ...reported,
    ];
    return {
      ...this.health(),
      state: this.#stateWith(problems),
      socket: socketPath,
      engines,
      streams: engines.reduce((sum, engine) => sum + engine.streams, 0),
      contexts: contexts.rows(),
      upstreams: upstreams.map((row) => ({
        ...row,
        address: withoutCredentials(row.address),
        target: withoutCredentials(row.target),
        ...(row.lastError === undefined
          ? {}
          : { lastError: { ...row.lastError, detail: withoutCredentials(row.lastError.detail) } }),
      })),
      problems,
      ...(lost.length === 0 ? {} : { lostConnections: lost }),
    };
  }

  /** `starting` while an engine runs that does not accept streams yet: requests wait for it. */
  #stateWith(problems: readonly StatusProblem[]): Health['state'] {
    if (problems.length > 0) return 'degraded';
    return this.#options.engines.streamsSocket.isAccepted ? 'ready' : 'starting';
  }

  #problemOf({ generation, state, version }: EngineRow): FailureData | undefined {
    if (state === 'not answering') return fail('engine_silent', { generation }).data;
    if (state !== 'other version') return undefined;
    const other = version === '' ? 'an engine of another version' : `an engine of bmuxd ${version}`;
    return fail('version_mismatch', { own: `bmuxd ${this.#options.version}`, other }).data;
  }
}
