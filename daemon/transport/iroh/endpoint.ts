// The iroh endpoint of an engine: it is bound once and dials gateways by their endpoint ids.
import { inTime } from '../../base/async/deadline.ts';
import { Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import type { IrohRoute } from '../../engine-protocol/plan.ts';
import { LIMITS } from '../../base/limits.ts';
import { isLoopback, isOffline } from '../../base/process/network.ts';
import type { Dialling } from '../dialling.ts';
import {
  bindRaw,
  checkRelayUrl,
  closeRaw,
  connectRaw,
  irohError,
  irohProblem,
  normalEndpointId,
  type RawEndpoint,
  type Relays,
} from './binding.ts';
import { IrohConnection } from './connection.ts';

export { IrohConnection, STREAMS_MAX } from './connection.ts';
export { irohProblem, type Relays } from './binding.ts';

/** An endpoint with its own key. Keep a reference to it while a connection of it is used: garbage collection closes its connections. */
export class IrohEndpoint {
  readonly #raw: RawEndpoint;
  readonly #connections = new Set<IrohConnection>();
  /** Dials under way. */
  #dialling = 0;
  /** Set by `retire`. */
  #onUnused: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  private constructor(raw: RawEndpoint) {
    this.#raw = raw;
  }

  /** Binds. Needs no internet. `online()` is never awaited: it hangs without a relay. Rejects with iroh_bind_failed, iroh_relay_invalid or iroh_unavailable. */
  static async bind(options: { readonly relays: Relays }): Promise<IrohEndpoint> {
    if (irohProblem !== undefined) throw irohProblem;
    try {
      for (const url of typeof options.relays === 'object' ? options.relays : []) checkRelay(url);
      const raw = await inTime(
        bindRaw(options.relays),
        LIMITS.irohBindMs,
        () => new Error('the bind did not end'),
        {
          abandon: (late) => {
            late.close().catch(() => undefined);
          },
        },
      );
      return new IrohEndpoint(raw);
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw fail('iroh_bind_failed', {}, irohError(error));
    }
  }

  /** Whether it can still dial. */
  isOpen(): boolean {
    return this.#closing === undefined && !this.#raw.isClosed();
  }

  /**
   * Connects to `route`, without SSH auth. Rejects with iroh_endpoint_invalid, iroh_relay_invalid, iroh_connect_timeout, iroh_unreachable.
   * The binding itself gives up on a silent peer after 30 s.
   */
  async connect(route: IrohRoute, label: string, { deadline, signal }: Dialling): Promise<IrohConnection> {
    const { endpointId, relayUrl, ipAddr } = route;
    const id = endpointIdOf(endpointId);
    if (relayUrl !== undefined) checkRelay(relayUrl);
    if (isOffline() && !(await staysHere(route))) throw fail('iroh_unreachable', { label }, noNetwork());
    this.#dialling += 1;
    try {
      const raw = await inTime(
        connectRaw(this.#raw, { id, relayUrl, ipAddr }),
        deadline.remaining(),
        () => fail('iroh_connect_timeout', { label }),
        { signal, abandon: closeRaw },
      );
      const connection = new IrohConnection(raw, this);
      this.#connections.add(connection);
      void connection.closed.then(() => {
        this.#connections.delete(connection);
        this.#noteUnused();
      });
      return connection;
    } catch (error) {
      if (error instanceof Failure || signal.aborted) throw error;
      throw fail('iroh_unreachable', { label }, irohError(error));
    } finally {
      this.#dialling -= 1;
      this.#noteUnused();
    }
  }

  /** Closes it after its last connection; resolves when that is done. Call it once, when no further dial will follow. */
  async retire(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onUnused = resolve;
      this.#noteUnused();
    });
    await this.close();
  }

  #noteUnused(): void {
    if (this.#connections.size + this.#dialling === 0) this.#onUnused?.();
  }

  /** Closes every connection gracefully, then the endpoint, in little more than `boundMs`. Calling twice is safe. */
  close(boundMs: number = LIMITS.endMs): Promise<void> {
    this.#closing ??= this.#close(boundMs);
    return this.#closing;
  }

  async #close(boundMs: number): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.close(boundMs)));
    const closed = this.#raw.close();
    const lastMs = Math.min(LIMITS.irohCloseMs, Math.max(boundMs, LIMITS.muteMs));
    await inTime(closed, lastMs, () => new Error('late')).catch(() => undefined);
  }
}

function checkRelay(url: string): void {
  try {
    checkRelayUrl(url);
  } catch (error) {
    throw fail('iroh_relay_invalid', { url }, irohError(error));
  }
}

/** Converts an endpoint id to its usual form; throws iroh_endpoint_invalid. */
function endpointIdOf(id: string): string {
  try {
    return normalEndpointId(id);
  } catch (error) {
    throw fail('iroh_endpoint_invalid', { id }, irohError(error));
  }
}

/** True when the direct address or the relay of a route is on this machine: it works without a network. */
async function staysHere({ ipAddr, relayUrl }: IrohRoute): Promise<boolean> {
  if (ipAddr !== undefined && (await isLoopback(hostOf(`udp://${ipAddr}`)))) return true;
  return relayUrl !== undefined && (await isLoopback(hostOf(relayUrl)));
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1') : '';
}

function noNetwork(): Error {
  return Object.assign(new Error('this machine has no network'), { code: 'ENETUNREACH' });
}
