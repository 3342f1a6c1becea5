// What the target sockets need of an engine, and which engine it is now.
import type { Server } from 'node:net';
import { untilAborted } from '../../base/async/until-aborted.ts';
import type { ListenFor, TargetSocketPlan } from '../../engine-protocol/messages.ts';

/** An engine as the target sockets use it: an `EngineLink` is one (daemon/control/engines/engine-link.ts). */
export interface TargetSocketEngine {
  /** Sends the handle of `server`. Resolves when the engine listens on it. Rejects when it cannot, or when `signal` aborts. */
  listen(socket: Extract<ListenFor, { kind: 'target' }>, server: Server, signal: AbortSignal): Promise<void>;
  /** Replaces where a target socket leads that the engine has. There is no answer. */
  update(id: string, plan: TargetSocketPlan): void;
  tell(message: { readonly type: 'close target socket'; readonly targetSocket: string }): void;
}

interface Attached {
  readonly engine: TargetSocketEngine;
  /** Aborts when the engine is gone. */
  readonly gone: AbortController;
}

/** The engine that accepts on target sockets now. There is none while it starts, and while one that died is replaced. */
export class CurrentEngine {
  #attached: Attached | undefined;
  readonly #waiting = new Set<(attached: Attached) => void>();

  /** Undefined while there is none. */
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

  /** False when another engine is the current one already. */
  detach(engine: TargetSocketEngine): boolean {
    if (this.#attached?.engine !== engine) return false;
    this.#attached.gone.abort();
    this.#attached = undefined;
    return true;
  }

  /**
   * Makes the current engine listen, and resolves with it. Waits while there is none; when one dies meanwhile, the next one listens. Rejects when
   * the engine cannot listen, or when `signal` aborts; the engine has no socket of this id then.
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
        await engine.listen(socket, server, AbortSignal.any([signal, gone.signal]));
        return engine;
      } catch (error) {
        if (gone.signal.aborted && !signal.aborted) continue;
        // It has been sent the socket, and may listen later.
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
