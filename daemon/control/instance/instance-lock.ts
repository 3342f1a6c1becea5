// Who is the daemon of a bmuxd dir: whoever answers on its owner socket, for as long as it lives. The control socket may be elsewhere, or be passed by
// a service manager; target sockets and engines belong to the dir. A lock guards only the moments of asking and binding.
import { stat } from 'node:fs/promises';
import type { Server as NetServer } from 'node:net';
import type { Server } from 'node:http';
import { join } from 'node:path';
import lockfile from 'proper-lockfile';
import { errnoOf, Failure, textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { httpRequest, NoAnswer } from '../../sockets/http-request.ts';
import { bindSocket, forwardTo, type Bound } from '../../sockets/bind.ts';
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
/** ms between two looks whether the sockets are still ours. */
const LOOK_MS = 500;

export interface InstanceLockOptions {
  readonly paths: BmuxdPaths;
  /** Serves what comes on either socket. */
  readonly server: Server;
  /** The control socket was passed by a service manager, which looks after it. */
  readonly activated: boolean;
  /** The dir is another daemon's now: this one must leave, and take nothing back. */
  readonly onLost: (to: Failure) => void;
  readonly log: Logger;
}

/** Lifecycle: claimed -> (looked after, bound again when a path vanishes) -> released | lost. */
export class InstanceLock {
  readonly #options: InstanceLockOptions;
  readonly #bound = new Map<string, Bound>();
  /** Listen for sockets that were bound again, and for the owner socket. */
  readonly #forwarders = new Map<string, NetServer>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #over = false;
  /** A foreign socket is told of once. */
  #told = false;

  private constructor(options: InstanceLockOptions) {
    this.#options = options;
  }

  /**
   * Takes the dir and binds the sockets unless a daemon answers there. Rejects with `daemon_already_running` (or `daemon_not_answering`,
   * `daemon_foreign`), and leaves that one alone; stale sockets are taken over.
   */
  static async claim(options: InstanceLockOptions): Promise<InstanceLock> {
    const instanceLock = new InstanceLock(options);
    const { paths, server, activated } = options;
    try {
      await underLock(paths.dir, async (isLost) => {
        const running =
          (await whoRuns(paths.instanceSocket)) ??
          (activated ? undefined : await whoRuns(paths.controlSocket));
        if (running !== undefined) throw running;
        if (isLost()) throw fail('daemon_starting', { dir: paths.dir });
        await instanceLock.#bindForwarder(paths.instanceSocket);
        if (!activated) await instanceLock.#bind(server, paths.controlSocket);
      });
    } catch (error) {
      await instanceLock.release();
      throw error;
    }
    instanceLock.#timer = setInterval(() => void instanceLock.look(), LOOK_MS);
    instanceLock.#timer.unref();
    return instanceLock;
  }

  /** True while nobody else has the dir. */
  async isOurs(): Promise<boolean> {
    return !this.#over && (await this.#isOurs(this.#options.paths.instanceSocket));
  }

  /** Binds again what has vanished; gives up what another daemon has. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error: unknown) => {
        if (!this.#over)
          this.#options.log.warn({ err: asFailure(error).data }, 'looking after the control socket');
      })
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** Removes the sockets that are still ours. Safe to call twice. */
  async release(): Promise<void> {
    this.#over = true;
    clearInterval(this.#timer);
    for (const { unbind } of this.#bound.values()) await unbind();
    this.#bound.clear();
    for (const forwarder of this.#forwarders.values()) forwarder.close();
    this.#forwarders.clear();
  }

  async #look(): Promise<void> {
    const { paths, activated, log, onLost } = this.#options;
    // Engines bind in a folder of their own, which control makes.
    if (!(await isThere(paths.enginesDir))) await makeRuntimeDir(paths);
    const sockets = activated ? [paths.instanceSocket] : [paths.instanceSocket, paths.controlSocket];
    for (const socket of sockets) {
      if (this.#over || (await this.#isOurs(socket))) continue;
      await makeRuntimeDir(paths);
      await underLock(paths.dir, async () => {
        if (this.#over || (await this.#isOurs(socket))) return;
        const running = await whoRuns(socket);
        if (running === undefined) {
          log.warn({ socket }, 'the socket is gone; it is bound again');
          await this.#bindForwarder(socket);
        } else if (socket === paths.instanceSocket) {
          this.#over = true;
          clearInterval(this.#timer);
          onLost(running);
        } else if (!this.#told) {
          this.#told = true;
          log.error({ socket, err: running.data }, 'the control socket is somebody else’s');
        }
      });
    }
  }

  async #isOurs(socket: string): Promise<boolean> {
    return (await this.#bound.get(socket)?.isThere()) ?? false;
  }

  async #bindForwarder(socket: string): Promise<void> {
    const forwarder = forwardTo(this.#options.server);
    await this.#bind(forwarder, socket);
    this.#forwarders.get(socket)?.close();
    this.#forwarders.set(socket, forwarder);
  }

  async #bind(server: NetServer, socket: string): Promise<void> {
    try {
      const bound = await bindSocket(server, socket);
      this.#bound.set(socket, bound);
      // Released meanwhile: nobody would take it away any more.
      if (this.#over) {
        await bound.unbind();
        server.close();
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw fail('control_socket_unbindable', { socket }, error);
    }
  }
}

async function underLock<T>(dir: string, work: (isLost: () => boolean) => Promise<T>): Promise<T> {
  let lost = false;
  const release = await lock(dir, () => {
    lost = true;
  }).catch((error: unknown) => {
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
async function lock(dir: string, onLost: () => void, tries = TRIES): Promise<() => Promise<void>> {
  try {
    return await lockfile.lock(dir, {
      lockfilePath: join(dir, 'start.lock'),
      stale: STALE_MS,
      // The default throws from a timer. A lock is lost when this process was stopped for seconds in the middle.
      onCompromised: onLost,
    });
  } catch (error) {
    if (errnoOf(error) !== 'ELOCKED' || tries <= 1) throw error;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    return lock(dir, onLost, tries - 1);
  }
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Why the socket cannot be had; undefined when nobody listens on it. `again`: it was asked before. */
async function whoRuns(socketPath: string, again = false): Promise<Failure | undefined> {
  try {
    const { body } = await httpRequest({
      socketPath,
      method: 'GET',
      path: '/v1/health',
      timeoutMs: LIMITS.silenceMs,
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
    if (NOBODY.has(errnoOf(error))) return undefined;
    // Killed in the middle of its answer: whether it is gone shows now.
    if (errnoOf(error) === 'ECONNRESET' && !again) return whoRuns(socketPath, true);
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
