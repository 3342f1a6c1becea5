// A long-lived client of a target socket, such as an attach: it sends Pings on one stream for as long as its gateway lives.
import type { TestClient } from '../../embedded/client.ts';
import { leave, overTargetSocket, type RequestInput } from './requests.ts';

export class Steady {
  readonly #asked: Pick<RequestInput, 'targetSocketEnv'>;
  #client: TestClient | undefined;
  /** performance.now() of its last answer. */
  #heardAt = 0;
  #waits = false;
  #left = false;

  constructor(asked: Pick<RequestInput, 'targetSocketEnv'>) {
    this.#asked = asked;
  }

  /** Sends a Ping unless one is pending. `since`: the last time that all was well, performance.now(). Never rejects. */
  async ping(): Promise<{ readonly error: unknown; readonly since: number } | undefined> {
    if (this.#waits) return undefined;
    this.#waits = true;
    this.#left = false;
    const since = this.#client === undefined ? performance.now() : this.#heardAt;
    try {
      this.#client ??= await overTargetSocket({ ...this.#asked, granted: () => undefined });
      await this.#client.ping();
      this.#heardAt = performance.now();
      if (this.#left) await this.#close();
      return undefined;
    } catch (error) {
      this.#client?.stream.destroy();
      this.#client = undefined;
      return this.#left ? undefined : { error, since };
    } finally {
      this.#waits = false;
    }
  }

  /** Ends its stream. A pending Ping is cancelled, because its path may be dead. */
  async leave(): Promise<void> {
    this.#left = true;
    if (this.#waits) this.#client?.stream.destroy();
    else await this.#close();
  }

  async #close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await leave(client);
  }
}
