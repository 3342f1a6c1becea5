// A client of a target socket that stays, as an attach does: one Ping after the other on the same stream, for as long as its gateway lives.
import type { TestClient } from '../embedded/client.ts';
import { leave, overTargetSocket, type Asked } from './requests.ts';

export class Steady {
  readonly #asked: Pick<Asked, 'targetSocketEnv'>;
  #client: TestClient | undefined;
  /** performance.now() of its last answer. */
  #heardAt = 0;
  #waits = false;
  #left = false;

  constructor(asked: Pick<Asked, 'targetSocketEnv'>) {
    this.#asked = asked;
  }

  /** One more Ping, unless the one before is still waiting. `since`: when all was well for the last time, performance.now(). Never rejects. */
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

  /** Its stream ends. What it waits for, perhaps on a path that died, it waits for no more. */
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
