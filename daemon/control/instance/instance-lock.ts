// Who is the daemon of a bmuxd dir: whoever answers on its owner socket, for as long as it lives. The control socket may be elsewhere, or be passed by
// a service manager; target sockets and engines belong to the dir. A lock guards only the moments of asking and binding.
import { stat } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import lockfile from 'proper-lockfile';
import { errnoOf, Failure, textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { httpRequest, NoAnswer } from '../../sockets/http-request.ts';
import { KeptSocket, type KeptSocketOptions } from '../../sockets/kept-socket.ts';
import { sleep } from '../../base/async/sleep.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { makeRuntimeDir } from './runtime-dir.ts';

/** What a connect says when nobody is there: no file, a stale one, a file that is no socket. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK']);
/** ms after which the lock of a process that was killed counts for nothing. */
const STALE_MS = 5000;
/** Tries for the lock, and ms between two of them: longer than STALE_MS in all. */
const TRIES = 50;
const RETRY_MS = 150;

export interface InstanceLockOptions {
  readonly paths: BmuxdPaths;
  /** Serves what comes on either socket. */
  readonly server: Server;
  /** The control socket was passed by a service manager, which looks after it. */
  readonly activated: boolean;
  /** The dir is another daemon's now: this one must leave, and take nothing back. */
  readonly onLost: (to: Failure) => void;
  readonly log: Logger;
  /** Ends a claim that still waits: for the lock, or for the answer of whoever listens. */
  readonly signal?: AbortSignal | undefined;
}

/** Lifecycle: claimed -> (looked after, bound again when a path vanishes) -> released | lost. */
export class InstanceLock {
  readonly #options: InstanceLockOptions;
  #instance: KeptSocket | undefined;
  #control: KeptSocket | undefined;
  #over = false;
  /** A foreign socket is told of once. */
  #told = false;

  private constructor(options: InstanceLockOptions) {
    this.#options = options;
  }

  /**
   * Takes the dir and binds the sockets unless a daemon answers there. Rejects with `daemon_already_running` (or `daemon_not_answering`,
   * `daemon_foreign`), and leaves that one alone; stale sockets are taken over. Rejects with the reason of `signal` when that aborts.
   */
  static async claim(options: InstanceLockOptions): Promise<InstanceLock> {
    const instanceLock = new InstanceLock(options);
    const { paths, activated, signal } = options;
    try {
      await underLock(paths.dir, signal, async (isLost) => {
        const running =
          (await whoRuns(paths.instanceSocket, signal)) ??
          (activated ? undefined : await whoRuns(paths.controlSocket, signal));
        if (running !== undefined) throw running;
        signal?.throwIfAborted();
        if (isLost()) throw fail('daemon_starting', { dir: paths.dir });
        instanceLock.#instance = await instanceLock.#keepInstance();
        if (!activated) instanceLock.#control = await instanceLock.#keepControl();
      });
    } catch (error) {
      await instanceLock.release();
      throw error;
    }
    return instanceLock;
  }

  /** True while nobody else has the dir. */
  async isOurs(): Promise<boolean> {
    return !this.#over && (await this.#instance?.isThere()) === true;
  }

  /** Binds again what has vanished; gives up what another daemon has. Never rejects. */
  async look(): Promise<void> {
    await this.#instance?.look();
    await this.#control?.look();
  }

  /** Removes the sockets that are still ours. Safe to call twice. */
  async release(): Promise<void> {
    this.#over = true;
    await this.#instance?.close();
    await this.#control?.close();
  }

  #keepInstance(): Promise<KeptSocket> {
    const { paths, onLost } = this.#options;
    const path = paths.instanceSocket;
    return this.#keep({
      path,
      direct: false,
      onLook: async () => {
        // Engines bind in a folder of their own, which control makes.
        if (!(await isThere(paths.enginesDir))) await makeRuntimeDir(paths);
      },
      whenGone: (bindAgain) =>
        this.#unlessTaken(
          path,
          () => this.#instance,
          bindAgain,
          (running) => {
            this.#over = true;
            this.#instance?.giveUp();
            this.#control?.giveUp();
            onLost(running);
          },
        ),
    });
  }

  #keepControl(): Promise<KeptSocket> {
    const path = this.#options.paths.controlSocket;
    return this.#keep({
      path,
      direct: true,
      whenGone: async (bindAgain) => {
        // Whoever has the dir has both.
        await this.#instance?.look();
        await this.#unlessTaken(
          path,
          () => this.#control,
          bindAgain,
          (running) => {
            if (this.#told) return;
            this.#told = true;
            this.#options.log.error(
              { socket: path, err: running.data },
              'the control socket is somebody else’s',
            );
          },
        );
      },
    });
  }

  async #keep(options: Omit<KeptSocketOptions, 'server' | 'onError'>): Promise<KeptSocket> {
    const { server, log } = this.#options;
    try {
      return await KeptSocket.bind({
        ...options,
        server,
        onError: (error) => {
          log.warn({ err: asFailure(error).data }, 'looking after the control socket');
        },
      });
    } catch (error) {
      throw unbindable(options.path, error);
    }
  }

  /** Binds the socket again, unless somebody answers there: `taken` is told of that one. */
  async #unlessTaken(
    socket: string,
    kept: () => KeptSocket | undefined,
    bindAgain: () => Promise<void>,
    taken: (by: Failure) => void,
  ): Promise<void> {
    const { paths, log } = this.#options;
    if (this.#over) return;
    await makeRuntimeDir(paths);
    await underLock(paths.dir, undefined, async () => {
      // Our own answer must not count as that of another daemon.
      if (this.#over || (await kept()?.isThere()) === true) return;
      const running = await whoRuns(socket);
      if (this.#over) return;
      if (running !== undefined) {
        taken(running);
        return;
      }
      log.warn({ socket }, 'the socket is gone; it is bound again');
      await bindAgain().catch((error: unknown) => {
        throw unbindable(socket, error);
      });
    });
  }
}

function unbindable(socket: string, error: unknown): Failure {
  return error instanceof Failure ? error : fail('control_socket_unbindable', { socket }, error);
}

async function underLock<T>(
  dir: string,
  signal: AbortSignal | undefined,
  work: (isLost: () => boolean) => Promise<T>,
): Promise<T> {
  let lost = false;
  const onLost = (): void => {
    lost = true;
  };
  const release = await lock(dir, onLost, signal).catch((error: unknown) => {
    signal?.throwIfAborted();
    if (errnoOf(error) === 'ELOCKED') throw fail('daemon_starting', { dir }, error);
    throw fail('control_socket_unbindable', { socket: join(dir, 'start.lock') }, error);
  });
  try {
    return await work(() => lost);
  } finally {
    // A lock that is gone already guards nothing any more.
    await release().catch(() => undefined);
  }
}

/** Waits for whoever has the lock, and for nothing else: a dir that has just vanished does not come back while it is waited for. */
async function lock(
  dir: string,
  onLost: () => void,
  signal: AbortSignal | undefined,
  tries = TRIES,
): Promise<() => Promise<void>> {
  signal?.throwIfAborted();
  try {
    return await lockfile.lock(dir, {
      lockfilePath: join(dir, 'start.lock'),
      stale: STALE_MS,
      // The default throws from a timer. A lock is lost when this process was stopped for seconds in the middle.
      onCompromised: onLost,
    });
  } catch (error) {
    if (errnoOf(error) !== 'ELOCKED' || tries <= 1) throw error;
    await sleep(RETRY_MS, signal);
    return lock(dir, onLost, signal, tries - 1);
  }
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Why the socket cannot be had; undefined when nobody listens on it. `again`: it was asked before. */
async function whoRuns(
  socketPath: string,
  signal?: AbortSignal,
  again = false,
): Promise<Failure | undefined> {
  try {
    const { body } = await httpRequest({
      socketPath,
      method: 'GET',
      path: '/v1/health',
      timeoutMs: LIMITS.silenceMs,
      signal,
    });
    if (
      typeof body === 'object' &&
      body !== null &&
      'pid' in body &&
      'version' in body &&
      'sinceMs' in body
    ) {
      return fail('daemon_already_running', {
        pid: Number(body.pid),
        version: String(body.version),
        since: timeOf(body.sinceMs),
      });
    }
    return fail('daemon_foreign', { socket: socketPath, why: 'it answers something else' });
  } catch (error) {
    signal?.throwIfAborted();
    if (NOBODY.has(errnoOf(error))) return undefined;
    // Killed in the middle of its answer: whether it is gone shows now.
    if (errnoOf(error) === 'ECONNRESET' && !again) return whoRuns(socketPath, signal, true);
    // A full queue of connections: somebody is there who does not accept them.
    if (error instanceof NoAnswer || errnoOf(error) === 'EAGAIN')
      return fail('daemon_not_answering', { socket: socketPath }, error);
    return fail('daemon_foreign', { socket: socketPath, why: textOf(error) }, error);
  }
}

/** What another program says is not taken for a time before it is one: `toISOString` throws. */
function timeOf(ms: unknown): string {
  const date = new Date(Number(ms));
  return Number.isNaN(date.getTime()) ? 'an unknown time' : date.toISOString();
}
