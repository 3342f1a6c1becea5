// What SSH agents say of their keys. A warm connection is shared only with a caller whose own agent vouches for the key of the connection.
import { Deadline, inTime } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import { LruMap } from '../base/lru-map.ts';
import type { Dialling } from '../transport/dialling.ts';
import { AgentGone, agentKeys } from '../transport/ssh-auth/agent.ts';

/** An agent, and the fingerprints of the keys that it vouches for. */
export interface VouchingAgent {
  readonly agentSocket: string;
  readonly fingerprints: readonly string[];
}

interface Listed {
  readonly fingerprints: readonly string[];
  /** Wall clock, ms. */
  readonly at: number;
}

/** How long only the caller's own agent is waited for, ms: the agent of a login that has ended is gone or does not answer. */
const OWN_FIRST_MS = 250;
/** Agents whose last list is remembered; the least recently used are forgotten first. */
const MAX_REMEMBERED = 64;

export class Agents {
  readonly #now: () => number;
  readonly #stop = new AbortController();
  /** By socket: the last list that was not empty. */
  readonly #listed = new LruMap<string, Listed>(MAX_REMEMBERED);
  /** By socket: the request that is under way. It is shared, because a slow agent may be asking a person to unlock it. */
  readonly #asking = new Map<string, Promise<VouchingAgent>>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * Returns the first of `agentSockets` if it lists its keys soon, else the first other one that does. A forwarded agent ends with its login, so
   * others are needed. All are asked at once. Undefined when none answers in time. Rejects with the signal's reason.
   */
  answering(agentSockets: readonly string[], dialling: Dialling): Promise<VouchingAgent | undefined> {
    return this.#first(agentSockets, dialling, () => undefined);
  }

  /**
   * Does the same. When the first agent cannot be asked now, its last list counts for `LIMITS.agentVouchedMs`: a slow or locked agent has not
   * said no. An agent that is gone, or that lists other keys, has.
   */
  vouching(agentSockets: readonly string[], dialling: Dialling): Promise<VouchingAgent | undefined> {
    return this.#first(agentSockets, dialling, (own) => this.#lastList(own));
  }

  /** The agent has just signed with this key. */
  signed(agentSocket: string, fingerprint: string): void {
    const others = this.#lastList(agentSocket)?.fingerprints ?? [];
    this.#listed.set(agentSocket, {
      fingerprints: [...new Set([...others, fingerprint])],
      at: this.#now(),
    });
  }

  /** Ends the requests that are under way. */
  close(): void {
    this.#stop.abort(new Error('stopping'));
  }

  async #first(
    agentSockets: readonly string[],
    { deadline, signal }: Dialling,
    instead: (own: string) => VouchingAgent | undefined,
  ): Promise<VouchingAgent | undefined> {
    const asked = agentSockets.map((agentSocket) => this.#ask(agentSocket));
    const any = Promise.any(asked);
    any.catch(ignore);
    const [own, ownSocket] = [asked[0], agentSockets[0]];
    if (own === undefined || ownSocket === undefined) return undefined;
    const late = (): Error => new Error('late');
    const within = (work: Promise<VouchingAgent>, ms: number): Promise<VouchingAgent | undefined> =>
      inTime(work, ms, late, { signal }).catch(() => undefined);
    const found =
      (await within(own, deadline.within(OWN_FIRST_MS))) ??
      instead(ownSocket) ??
      (await within(any, deadline.remaining()));
    signal.throwIfAborted();
    return found;
  }

  /** Asks an agent for its keys. The answer of an agent that takes longer than its caller waits is remembered, too. */
  #ask(agentSocket: string): Promise<VouchingAgent> {
    const under = this.#asking.get(agentSocket);
    if (under !== undefined) return under;
    const limits = { deadline: new Deadline(LIMITS.agentListMs), signal: this.#stop.signal };
    const late = (): Error => new Error('the SSH agent does not answer');
    const asked = agentKeys(agentSocket, limits, late)
      .then(
        (keys) =>
          this.#took(
            agentSocket,
            keys.map(({ fingerprint }) => fingerprint),
          ),
        (error: unknown) => {
          if (error instanceof AgentGone) this.#listed.delete(agentSocket);
          throw error;
        },
      )
      .finally(() => this.#asking.delete(agentSocket));
    asked.catch(ignore);
    this.#asking.set(agentSocket, asked);
    return asked;
  }

  #took(agentSocket: string, fingerprints: readonly string[]): VouchingAgent {
    // An agent of OpenSSH that is locked lists no keys, as one does that has none.
    if (fingerprints.length === 0) return this.#lastList(agentSocket) ?? { agentSocket, fingerprints };
    this.#listed.set(agentSocket, { fingerprints, at: this.#now() });
    return { agentSocket, fingerprints };
  }

  #lastList(agentSocket: string): VouchingAgent | undefined {
    const last = this.#listed.get(agentSocket);
    if (last === undefined) return undefined;
    const age = this.#now() - last.at;
    return age >= 0 && age < LIMITS.agentVouchedMs
      ? { agentSocket, fingerprints: last.fingerprints }
      : undefined;
  }
}

function ignore(): void {
  // The callers that wait for the agent get the rejection.
}
