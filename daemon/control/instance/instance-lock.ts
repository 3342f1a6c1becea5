// Makes sure that a runtime dir has one daemon: the process that answers on its `instance.sock`. The control socket cannot serve for this,
// because it may be in another folder or be passed by a service manager. A lock file is held only while a process checks the socket and binds.
import type { Server } from 'node:http';
import type { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { httpRequest, NoAnswer } from '../../sockets/http-request.ts';
import { KeptSocket, type KeptSocketOptions } from '../../sockets/kept-socket.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { KeptRuntimeDir } from './kept-runtime-dir.ts';
import { InstanceFiles } from './instance-files.ts';
import { unbindable, underLock } from './start-lock.ts';
import { whoRuns } from './who-runs.ts';

export interface InstanceLockOptions {
  readonly paths: BmuxdPaths;
  readonly runtimeDir: KeptRuntimeDir;
  /** Serves the requests on both sockets. */
  readonly server: Server;
  /** True when a service manager passed the control socket. It keeps the socket file then. */
  readonly activated: boolean;
  /** Called when another daemon has taken the runtime dir. This one must exit and leave the sockets as they are. */
  readonly onLost: (to: Failure) => void;
  readonly log: Logger;
  /** Takes the runtime dir over from a daemon that has it. */
  readonly replace?: boolean | undefined;
  /** Ends a claim that still waits for the lock or for the answer of another daemon. */
  readonly signal?: AbortSignal | undefined;
}

/** Lifecycle: claimed -> (checked regularly, bound again when a path vanishes) -> released | lost. */
export class InstanceLock {
  readonly #options: InstanceLockOptions;
  #instance: KeptSocket | undefined;
  #control: KeptSocket | undefined;
  readonly #files: InstanceFiles;
  #over = false;
  /** The daemon stops: its files stay until `stopped`. */
  #stops = false;
  /** True when it was logged that another process has the control socket; that is logged once. */
  #told = false;

  private constructor(options: InstanceLockOptions) {
    this.#options = options;
    const { instanceSocket, controlSocket } = options.paths;
    this.#files = new InstanceFiles([instanceSocket, controlSocket]);
  }

  /**
   * Binds the sockets unless another process answers on them. Stale sockets are replaced. Rejects with `daemon_already_running`,
   * `daemon_not_answering` or `daemon_foreign` and changes nothing then. Rejects with the reason of `signal` when that aborts.
   */
  static async claim(options: InstanceLockOptions): Promise<InstanceLock> {
    const instanceLock = new InstanceLock(options);
    const { paths, activated, replace = false, signal } = options;
    try {
      await underLock(paths.dir, signal, async (isLost) => {
        const running =
          (await whoRuns(paths.instanceSocket, signal)) ??
          (activated ? undefined : await whoRuns(paths.controlSocket, signal));
        if (running !== undefined && !(replace && REPLACEABLE.has(running.code))) throw running;
        signal?.throwIfAborted();
        if (await isLost()) throw fail('daemon_starting', { dir: paths.dir });
        instanceLock.#instance = await instanceLock.#keepInstance();
        if (!activated) instanceLock.#control = await instanceLock.#keepControl();
        await instanceLock.#files.begin();
      });
    } catch (error) {
      await instanceLock.release();
      throw error;
    }
    return instanceLock;
  }

  /** True while the instance socket is the one that this process has bound. */
  async isOurs(): Promise<boolean> {
    return !this.#over && (await this.#instance?.isThere()) === true;
  }

  /** False when a health request on our own instance socket gets no answer. True when its file is missing: it is bound again. */
  async isAnswering(): Promise<boolean> {
    if (!(await this.isOurs())) return true;
    return httpRequest({
      socketPath: this.#options.paths.instanceSocket,
      method: 'GET',
      path: '/v1/health',
      timeoutMs: LIMITS.silenceMs,
    }).then(
      () => true,
      (error: unknown) => !(error instanceof NoAnswer),
    );
  }

  /** Checks the sockets now: binds those that have vanished, and gives up those that another daemon has bound. Never rejects. */
  async look(): Promise<void> {
    await this.#instance?.look();
    await this.#control?.look();
  }

  /** Removes the sockets, except those that another process has replaced. Safe to call twice. */
  async release(): Promise<void> {
    this.#over = true;
    await this.#instance?.close();
    await this.#control?.close();
    if (!this.#stops) await this.#files.end();
  }

  /** The files of this daemon say that it stops, also after `release`, until `stopped`. */
  async stopping(): Promise<void> {
    this.#stops = true;
    await this.#files.stopping();
  }

  /** All that belongs to this daemon has ended. */
  async stopped(): Promise<void> {
    await this.#files.end();
  }

  #keepInstance(): Promise<KeptSocket> {
    const { paths, runtimeDir, onLost } = this.#options;
    const path = paths.instanceSocket;
    return this.#keep({
      path,
      direct: false,
      onLook: async () => {
        await runtimeDir.check();
        if (await this.isOurs()) await this.#files.renew();
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
        // The instance socket decides: if another daemon has bound it, the control socket belongs to that daemon, too.
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
              'another process has the control socket',
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
          log.warn({ err: asFailure(error).data }, 'checking the sockets failed');
        },
      });
    } catch (error) {
      throw unbindable(options.path, error);
    }
  }

  /** Binds the socket again. When another process answers there, calls `taken` with the failure instead. */
  async #unlessTaken(
    socket: string,
    kept: () => KeptSocket | undefined,
    bindAgain: () => Promise<void>,
    taken: (by: Failure) => void,
  ): Promise<void> {
    const { paths, runtimeDir, log } = this.#options;
    if (this.#over || !(await runtimeDir.check())) return;
    await underLock(paths.dir, undefined, async () => {
      // Our own answer must not count as that of another daemon.
      if (this.#over || (await kept()?.isThere()) === true) return;
      const running = await whoRuns(socket);
      if (this.#over) return;
      if (running !== undefined) {
        taken(running);
        return;
      }
      log[runtimeDir.lossLevel]({ socket }, 'the socket is gone; it is bound again');
      await bindAgain().catch((error: unknown) => {
        throw unbindable(socket, error);
      });
      await this.#files.begin();
    });
  }
}

/** The other process is a daemon. Once the paths lead to this one, it leaves. */
const REPLACEABLE: ReadonlySet<string> = new Set(['daemon_already_running', 'daemon_not_answering']);
