// Finds all engines of this user by their sockets, also those of an earlier control, and sends them requests. Each request has a time limit.
import { existsSync } from 'node:fs';
import { inTime } from '../../base/async/deadline.ts';
import type { FailureData } from '../../base/failure.ts';
import { LruMap } from '../../base/lru-map.ts';
import { isListening } from '../../sockets/bind.ts';
import { engineRequest, isLack, isSilence } from '../../sockets/http-request.ts';
import { LIMITS } from '../../base/limits.ts';
import {
  SCHEMA,
  type EngineRow,
  type EngineStatus,
  type StreamEnd,
  type UpstreamRow,
  type StreamList,
  type StatusProblem,
} from '../../api/answers.ts';
import { isEngineStatus } from '../../api/answer-shapes.ts';
import type { Tally } from '../../api/metrics/tally.ts';
import { SingleFlight } from '../../base/async/single-flight.ts';
import { failureIn } from '../../errors/problem.ts';
import { endOf } from './others/end-of.ts';
import { EngineSocketFiles } from './others/socket-files.ts';
import { streamList } from './others/stream-list.ts';
import { foreignRow, NOTHING_KNOWN } from './others/foreign-row.ts';
import type { Survey } from './others/survey.ts';

/**
 * Engines whose last answer is kept; fewer run at the same time. The least recently heard one is dropped first. A bound is needed because
 * only a survey removes the answers of engines that have exited.
 */
const MAX_HEARD = 64;

export interface DirectoryOptions {
  readonly dir: string;
  /** Gets what each engine has counted. */
  readonly onTally?: (tally: Tally) => void;
  readonly onHeard?: (upstreams: readonly UpstreamRow[]) => void;
  /** Gets what an engine has told last that has left its socket, and so was not ended properly. */
  readonly onCrash?: (upstreams: readonly UpstreamRow[]) => void;
}

/** The engines behind `engines/{generation}.sock`. */
export class EngineDirectory {
  readonly #sockets: EngineSocketFiles;
  readonly #onTally: (tally: Tally) => void;
  readonly #onHeard: DirectoryOptions['onHeard'];
  readonly #onCrash: DirectoryOptions['onCrash'];
  /** The last answer of each engine and when it came, performance.now(). */
  readonly #last = new LruMap<string, { readonly status: EngineStatus; readonly at: number }>(MAX_HEARD);
  /** Rows of engines that answer in another form, because they are of another version. */
  readonly #foreign = new LruMap<string, EngineRow>(MAX_HEARD);
  /** Engines that did not answer the last survey. Until they answer, a survey waits for them only briefly. */
  readonly #silent = new Set<string>();
  /** Engines that have left a socket on which nobody listens. */
  readonly #dead = new LruMap<string, true>(MAX_HEARD);
  /** What has kept engines from an answer, in the last requests. */
  readonly #troubles = new LruMap<string, StatusProblem>(MAX_HEARD);
  /** Pending requests of surveys. */
  readonly #asked = new SingleFlight<string, boolean>();

  constructor(options: DirectoryOptions) {
    this.#sockets = new EngineSocketFiles(options.dir);
    this.#onTally = options.onTally ?? (() => undefined);
    this.#onHeard = options.onHeard;
    this.#onCrash = options.onCrash;
  }

  async survey(): Promise<Survey> {
    this.#troubles.clear();
    const found = this.#list();
    const there = await Promise.all(found.map((generation) => this.#glance(generation)));
    const engines: EngineRow[] = [];
    const upstreams: UpstreamRow[] = [];
    const problems: StatusProblem[] = [...this.#troubles.values()];
    const now = performance.now();
    for (const [index, generation] of found.entries()) {
      if (there[index] !== true) continue;
      const foreign = this.#foreign.peek(generation);
      if (foreign !== undefined && !this.#silent.has(generation)) {
        engines.push(foreign);
        continue;
      }
      const last = this.#last.peek(generation);
      const row = last?.status.engine ?? { ...NOTHING_KNOWN, generation };
      // The last answer counts for `LIMITS.surveyKeptMs`, so that an engine that is busy for a moment is not shown as not answering.
      const fresh = last !== undefined && now - last.at < LIMITS.surveyKeptMs;
      engines.push(fresh ? row : { ...row, state: 'not answering' });
      if (!fresh) continue;
      upstreams.push(...last.status.upstreams);
      for (const failure of last.status.problems ?? [])
        problems.push({ where: `engine ${generation}`, failure });
    }
    for (const known of [this.#last, this.#foreign, this.#silent])
      for (const generation of known.keys()) if (!found.includes(generation)) known.delete(generation);
    return { engines, upstreams, problems };
  }

  /** Records an engine's status, or with undefined that it did not answer, and returns its servers. A survey uses it when the engine is late. */
  heard(generation: string, status: unknown): readonly UpstreamRow[] {
    if (status === undefined) this.#silent.add(generation);
    else this.#silent.delete(generation);
    if (isEngineStatus(status)) {
      this.#last.set(generation, { status, at: performance.now() });
      if (status.tally !== undefined) this.#onTally(status.tally);
      this.#onHeard?.(status.upstreams);
      return status.upstreams;
    }
    if (status !== undefined) this.#foreign.set(generation, foreignRow(generation, status));
    return [];
  }

  /** Asks one engine and waits briefly. A late answer is used by the next survey. Resolves with false when no process listens. */
  async #glance(generation: string): Promise<boolean> {
    const asked = this.#asked.run(generation, async () => {
      const answer = await this.#ask(generation, '/v1/engine', LIMITS.engineAnswerMs);
      if (answer === undefined) return false;
      this.heard(generation, answer.body);
      return true;
    });
    const patience = this.#silent.has(generation) ? LIMITS.glanceMs : LIMITS.surveyMs;
    return inTime(asked, patience, () => new Error('late')).catch(() => {
      this.#silent.add(generation);
      return true;
    });
  }

  /** Connections that engines other than `current` hold, by server address. For a silent engine its last answer counts. */
  async connectionsBeside(current: string): Promise<Readonly<Record<string, number>>> {
    const others = this.#list().filter((generation) => generation !== current);
    const connections: Record<string, number> = {};
    const count = async (generation: string): Promise<void> => {
      try {
        const { body } = await engineRequest(this.#path(generation), 'GET', '/v1/engine');
        this.heard(generation, body);
      } catch (error) {
        // A dead engine holds nothing. Its socket file is kept here: a refused connect tells a client that the engine died
        // (client-shim/probe.ts).
        if (!isSilence(error) && !(await isListening(this.#path(generation), LIMITS.engineAnswerMs))) {
          this.#crashed(generation);
          return;
        }
      }
      for (const row of this.#last.peek(generation)?.status.upstreams ?? [])
        connections[row.address] = (connections[row.address] ?? 0) + row.connections;
    };
    await Promise.all(others.map(count));
    return connections;
  }

  /** What the engines other than `own` know of their servers. One that does not answer in time tells nothing. */
  async upstreamsBeside(own: readonly string[]): Promise<readonly UpstreamRow[]> {
    const answers = await this.#askAll('/v1/engine', LIMITS.engineAnswerMs);
    return answers.flatMap(({ generation, body }) =>
      isEngineStatus(body) && !own.includes(generation) ? body.upstreams : [],
    );
  }

  async streams(): Promise<StreamList> {
    return streamList(await this.#askAll('/v1/streams', LIMITS.engineAnswerMs));
  }

  /** Ends one stream, in whichever engine it is. Resolves with false when no engine has it. */
  async end(id: string): Promise<boolean> {
    const generation = id.slice(0, id.lastIndexOf('-'));
    if (!/^[a-z0-9]+$/.test(generation) || !this.#list().includes(generation)) return false;
    const answer = await engineRequest(
      this.#path(generation),
      'DELETE',
      `/v1/streams/${encodeURIComponent(id)}`,
    );
    return answer.status === 202;
  }

  /** How a stream ended: its engine says it, or the file that the engine has left. Without either, the engine has died. */
  async endOf(id: string): Promise<StreamEnd> {
    const generation = id.slice(0, id.lastIndexOf('-'));
    if (!/^[a-z0-9]+$/.test(generation)) return { schema: SCHEMA, known: false };
    return endOf(id, this.#path(generation), () => this.#dead.has(generation));
  }

  /** The engines other than `current`, the oldest first, each with its live streams as it has told last. */
  async beside(
    current: string,
  ): Promise<readonly { readonly generation: string; readonly streams: number }[]> {
    const { engines } = await this.survey();
    return engines.filter(({ generation }) => generation !== current);
  }

  async post(generation: string, path: string): Promise<void> {
    await engineRequest(this.#path(generation), 'POST', path);
  }

  /**
   * Tells every engine to end its streams gracefully and exit. `who`: has ended them, as their clients are told. Resolves with those that
   * did not answer in time. One that could not be asked does not count as one.
   */
  async stopAll(who: string): Promise<string[]> {
    const path = `/v1/stop?who=${encodeURIComponent(who)}`;
    const told = this.#list().map(async (generation) => {
      try {
        await this.#tellToStop(generation, path);
        return undefined;
      } catch (error) {
        return this.#isLack(error) ? undefined : generation;
      }
    });
    return (await Promise.all(told)).filter((generation) => generation !== undefined);
  }

  /** Asks twice, because an engine that counts as silent is killed with all its streams, and one that is busy answers late. */
  async #tellToStop(generation: string, path: string): Promise<void> {
    const tell = (): Promise<void> => this.post(generation, path);
    await tell().catch((error: unknown) => {
      if (isSilence(error)) return tell();
      throw error;
    });
  }

  /** True when no engine other than those in `except` is left. */
  async empty(except: readonly string[]): Promise<boolean> {
    await this.sweep();
    return this.#list().every((generation) => except.includes(generation));
  }

  /** Removes the socket files on which no process listens, since a killed engine leaves its own, and what engines have left long ago. */
  async sweep(): Promise<void> {
    await this.#sockets.removeOldEnds();
    await Promise.all(this.#list().map((generation) => this.#removeDead(generation, LIMITS.engineAnswerMs)));
  }

  #removeDead(generation: string, timeoutMs: number): Promise<boolean> {
    return this.#sockets.removeDead(
      generation,
      () => {
        this.#crashed(generation);
      },
      timeoutMs,
    );
  }

  /** Whether this process lacks what it needs to ask an engine. That is shown in the next status. */
  #isLack(error: unknown): boolean {
    if (!isLack(error)) return false;
    this.#trouble('control', error.data);
    return true;
  }

  #trouble(where: string, failure: FailureData): void {
    this.#troubles.set(where, { where, failure });
  }

  /** Nobody listens on its socket. An engine that ends properly removes the file first. */
  #crashed(generation: string): void {
    if (!existsSync(this.#path(generation))) return;
    this.#dead.set(generation, true);
    const last = this.#last.peek(generation);
    this.#last.delete(generation);
    if (last !== undefined) this.#onCrash?.(last.status.upstreams);
  }

  async #askAll(
    path: string,
    timeoutMs: number,
  ): Promise<readonly { readonly generation: string; readonly body: unknown }[]> {
    const answers = await Promise.all(
      this.#list().map((generation) => this.#ask(generation, path, timeoutMs)),
    );
    return answers.filter((answer) => answer !== undefined);
  }

  /** Undefined when no process listens; `body` is undefined when one listens but does not answer. */
  async #ask(
    generation: string,
    path: string,
    timeoutMs: number,
  ): Promise<{ readonly generation: string; readonly body: unknown } | undefined> {
    try {
      const { body, status } = await engineRequest(this.#path(generation), 'GET', path, timeoutMs);
      const trouble = status < 500 ? undefined : failureIn(body, status);
      if (trouble === undefined) return { generation, body };
      this.#trouble(`engine ${generation}`, trouble);
      return { generation, body: undefined };
    } catch (error) {
      // An engine that listens but is silent is reported. The socket file of a killed engine is removed.
      const isDead = !this.#isLack(error) && (await this.#removeDead(generation, timeoutMs));
      return isDead ? undefined : { generation, body: undefined };
    }
  }

  #list(): readonly string[] {
    return this.#sockets.list();
  }

  #path(generation: string): string {
    return this.#sockets.path(generation);
  }
}
