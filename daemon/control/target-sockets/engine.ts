// The interface through which target sockets use an engine, and the engine that is current.
import type { Server } from 'node:net';
import type { BrokerEvent } from '../../api/answers.ts';
import type { Random } from '../../base/async/backoff.ts';
import type { Clock } from '../../base/async/clock.ts';
import { untilAborted, withEither } from '../../base/async/until-aborted.ts';
import type { Logger } from '../../base/log.ts';
import type { ListenFor, TargetSocketPlan } from '../../engine-protocol/messages.ts';
import type { Instance, Losses } from '../instance/instance.ts';
import type { SocketCount } from './bound-socket.ts';

/** What target sockets need of an engine. `EngineLink` implements it (daemon/control/engines/engine-link.ts). */
export interface TargetSocketEngine {
  /** Sends the handle of `server`. Resolves when the engine listens on it. Rejects when it cannot, or when `signal` aborts. */
  listen(socket: Extract<ListenFor, { kind: 'target' }>, server: Server, signal: AbortSignal): Promise<void>;
  /** Replaces where a target socket of the engine leads. The engine sends no answer. */
  update(id: string, plan: TargetSocketPlan): void;
  tell(message: { readonly type: 'close target socket'; readonly targetSocket: string }): void;
}

interface Attached {
  readonly engine: TargetSocketEngine;
  /** Aborts when the engine is gone or has been replaced. */
  readonly gone: AbortController;
}

/** Holds the engine that accepts on target sockets now. There is none while the first one starts, or after one has died. */
export class CurrentEngine {
  #attached: Attached | undefined;
  readonly #waiting = new Set<(attached: Attached) => void>();

  /** The current engine; undefined while there is none. */
  get current(): TargetSocketEngine | undefined {
    return this.#attached?.engine;
  }

  attach(engine: TargetSocketEngine): void {
    this.#attached?.gone.abort();
    const attached = { engine, gone: new AbortController() };
    this.#attached = attached;
    for (const tell of this.#waiting) tell(attached);
    this.#waiting.clear();
  }

  /** Removes the engine if it is the current one. False when it is not. */
  detach(engine: TargetSocketEngine): boolean {
    if (this.#attached?.engine !== engine) return false;
    this.#attached.gone.abort();
    this.#attached = undefined;
    return true;
  }

  /**
   * Makes the current engine listen on `server`, and resolves with that engine. Waits while there is no engine; when one dies meanwhile,
   * the next one is asked. Rejects when the engine cannot listen, or when `signal` aborts. The engine is then told to close the socket.
   */
  async listen(
    id: string,
    plan: TargetSocketPlan,
    server: Server,
    signal: AbortSignal,
  ): Promise<TargetSocketEngine> {
    const socket = { kind: 'target' as const, targetSocket: id, ...plan };
    for (;;) {
      const { engine, gone } = await this.#present(signal);
      try {
        await withEither([signal, gone.signal], (either) => engine.listen(socket, server, either));
        return engine;
      } catch (error) {
        if (gone.signal.aborted && !signal.aborted) continue;
        // The engine has been sent the socket already, and could still begin to listen.
        engine.tell({ type: 'close target socket', targetSocket: id });
        throw error;
      }
    }
  }

  async #present(signal: AbortSignal): Promise<Attached> {
    if (this.#attached !== undefined && !signal.aborted) return this.#attached;
    let tell: (attached: Attached) => void = () => undefined;
    const attached = new Promise<Attached>((resolve) => {
      tell = resolve;
      this.#waiting.add(resolve);
    });
    return untilAborted(attached, signal).finally(() => this.#waiting.delete(tell));
  }
}

/** The objects that all target sockets share. */
export interface TargetSocketDeps {
  readonly engines: CurrentEngine;
  readonly count: SocketCount;
  readonly clock: Clock;
  readonly random?: Random;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** When another daemon has the bmuxd dir, its target sockets must not be replaced. */
  readonly instance: Pick<Instance, 'isOurs'> & Losses;
}
