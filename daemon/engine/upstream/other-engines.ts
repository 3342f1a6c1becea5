// The other engines of this user, as their sockets show them: what is in the runtime dir may be theirs.
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LIMITS } from '../../base/limits.ts';
import { isListening } from '../../sockets/bind.ts';

export class OtherEngines {
  readonly #dir: string;
  readonly #own: string;

  constructor(start: { readonly socketPath: string; readonly generation: string }) {
    this.#dir = dirname(start.socketPath);
    this.#own = start.generation;
  }

  /** Whether the engine of this generation runs. */
  readonly isAlive = (generation: string): Promise<boolean> =>
    isListening(join(this.#dir, `${generation}.sock`), LIMITS.engineAnswerMs);

  /** Whether any of them runs. */
  async any(): Promise<boolean> {
    const names = await readdir(this.#dir).catch((): string[] => []);
    const others = names
      .filter((name) => name.endsWith('.sock'))
      .map((name) => name.slice(0, -'.sock'.length))
      .filter((generation) => generation !== this.#own);
    return (await Promise.all(others.map(this.isAlive))).includes(true);
  }
}
