// Finds out why the streams of a command that has exited ended. The engines are asked themselves, because control may be away.
import { existsSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { socketProblem } from '../../api/socket-path.ts';
import { isEndList, keptRowsIn, type EndRow } from '../../api/stream-end.ts';
import { askUntilBack } from '../../base/async/until-back.ts';
import { bmuxdPaths, keptEndsBeside, type Env } from '../../base/paths.ts';
import { isRunning, type ProcessIdentity } from '../../base/process/identity.ts';
import { engineRequest, isSilence } from '../../sockets/http-request.ts';

/** ms before the exit of a command in which the lost stream of another process counts: one that the command has started. */
const AROUND_EXIT_MS = 5000;

export interface ExitedCommand {
  readonly pid: number;
  /** Date.now() of its start. */
  readonly sinceMs: number;
  /** Where its streams led to, as the broker names it. */
  readonly target: string;
}

/** What one engine says. `died`: nobody listens on its socket. */
type Said = { readonly rows: readonly EndRow[]; readonly live: number } | 'died';

const NOTHING: Said = { rows: [], live: 0 };

export class ClientEnds {
  readonly #folders: readonly string[];
  /** Sockets of the engines that have answered, and which processes these are; an older one does not tell. */
  readonly #seen = new Map<string, ProcessIdentity | undefined>();

  constructor(env: Env) {
    const { enginesDir, controlSocket } = bmuxdPaths(env);
    // A client that has only the path of the control socket may have another runtime dir.
    this.#folders = [...new Set([join(dirname(controlSocket), basename(enginesDir)), enginesDir])];
  }

  /** Remembers which engines run. One of them that does not run later has died, or was stopped. */
  async look(): Promise<void> {
    const now = Date.now();
    await Promise.all((await this.#sockets()).map((path) => this.#ask(path, `sinceMs=${String(now)}`)));
  }

  /** Why the command has lost its stream; undefined when it ended by itself. */
  async whyLost({ pid, sinceMs, target }: ExitedCommand): Promise<string | undefined> {
    const exitedMs = Date.now();
    const own = await this.#askAll(`clientPid=${String(pid)}&sinceMs=${String(sinceMs)}`);
    // The end of a stream that its client has ended may still be on its way.
    if (own.some((said) => said !== 'died' && said.live > 0)) return undefined;
    const last = latest(own, (row) => row.clientPid === pid && row.atMs >= sinceMs);
    if (last !== undefined) return reasonOf(last);
    if (own.includes('died')) return 'its engine has died';
    // What was lost before the command was started is not of a process that it has started.
    const near = Math.max(exitedMs - AROUND_EXIT_MS, sinceMs);
    const others = await this.#askAll(`sinceMs=${String(near)}`);
    const isChild = ({ clientPid }: EndRow): boolean =>
      clientPid === undefined || !isRunning({ pid: clientPid });
    const other = latest(others, (row) => row.atMs >= near && row.target === target && isChild(row));
    return other === undefined ? undefined : reasonOf(other);
  }

  async #askAll(query: string): Promise<readonly Said[]> {
    const paths = new Set([...(await this.#sockets()), ...this.#seen.keys()]);
    return Promise.all([...paths].map((path) => this.#ask(path, query)));
  }

  async #ask(path: string, query: string): Promise<Said> {
    return (await askUntilBack(() => this.#saidAt(path, query))) ?? NOTHING;
  }

  /** Undefined while the socket of an engine that runs is away. */
  async #saidAt(path: string, query: string): Promise<Said | undefined> {
    try {
      const { body } = await engineRequest(path, 'GET', `/v1/ends?${query}`);
      if (!isEndList(body)) return NOTHING;
      this.#seen.set(path, body.process);
      return { rows: body.ends, live: body.live };
    } catch (error) {
      if (isSilence(error)) return NOTHING;
    }
    const rows = leftBy(path);
    if (rows !== undefined) return { rows, live: 0 };
    const process = this.#seen.get(path);
    if (process !== undefined && isRunning(process) === true) return undefined;
    // Control may have removed the socket of an engine that was killed. Without the folder, nobody knows.
    return this.#seen.has(path) && existsSync(dirname(path)) ? 'died' : NOTHING;
  }

  async #sockets(): Promise<string[]> {
    const found = this.#folders.map(async (folder) =>
      (await readdir(folder).catch(() => []))
        .filter((name) => /^[a-z0-9]+\.sock$/.test(name))
        .map((name) => join(folder, name)),
    );
    return (await Promise.all(found)).flat();
  }
}

/** What an engine has left when it exited; undefined when it has left nothing. */
function leftBy(engineSocket: string): readonly EndRow[] | undefined {
  const path = keptEndsBeside(engineSocket);
  if (socketProblem(path) !== undefined) return undefined;
  try {
    return keptRowsIn(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function latest(all: readonly Said[], counts: (row: EndRow) => boolean): EndRow | undefined {
  const rows = all.flatMap((said) => (said === 'died' ? [] : said.rows)).filter(counts);
  return rows.sort((a, b) => a.atMs - b.atMs).at(-1);
}

/**
 * A gateway ends its streams properly when its server is gone (docs/stream-ends.md). bmux itself ends its stream when a person detaches
 * and when its session is over. A local server that ends a stream properly was stopped.
 */
function reasonOf({ lost, by, transport }: EndRow): string | undefined {
  if (by === 'person') return undefined;
  return lost ?? (by === 'server' && transport !== 'local' ? 'its server has ended it' : undefined);
}
