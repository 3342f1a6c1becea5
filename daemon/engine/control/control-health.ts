// Whether control, which has not answered the engine for a while, is slow, hangs, or has been replaced.
import { number, object } from '../../api/shape.ts';
import { errnoOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { answersInTurn } from '../../base/process/starved.ts';
import { httpRequest, NoAnswer } from '../../sockets/http-request.ts';

export interface ControlHealthOptions {
  /** Path of the daemon's control socket. */
  readonly controlSocket: string;
  /** The control process that has started this engine. */
  readonly controlPid: () => number;
  /** Number of messages that have come from control. */
  readonly messages: () => number;
  /** False when nobody waits for control any more. */
  readonly isAwaited: () => boolean;
}

/** `silent`: it hangs. `replaced`: another control process answers at its socket. */
export type ControlState = 'there' | 'silent' | 'replaced';

const hasPid = object({ pid: number });

export class ControlHealth {
  readonly #options: ControlHealthOptions;
  #check: Promise<ControlState> | undefined;

  constructor(options: ControlHealthOptions) {
    this.#options = options;
  }

  /**
   * Asks at the control socket. Those who ask meanwhile get the same answer, since a flood has hundreds of them. Control is silent when two
   * health requests in a row got no answer; one that gets no CPU is asked up to ten times, and one that sends a message meanwhile is there.
   * Never rejects.
   */
  look(): Promise<ControlState> {
    this.#check ??= this.#ask().finally(() => {
      this.#check = undefined;
    });
    return this.#check;
  }

  async #ask(): Promise<ControlState> {
    const { controlPid, messages, isAwaited } = this.#options;
    const before = messages();
    let health = 'silent' as ControlState;
    await answersInTurn(controlPid(), async () => {
      health = await this.#request();
      return health !== 'silent' || !isAwaited();
    });
    return health === 'silent' && messages() !== before ? 'there' : health;
  }

  /**
   * `silent`: no answer within `LIMITS.healthMs`, or its backlog is full (EAGAIN). Any other error is `there`: when control has ended, the
   * channel closes and the link learns it from there.
   */
  async #request(): Promise<ControlState> {
    const { controlSocket, controlPid } = this.#options;
    try {
      const { body } = await httpRequest({
        socketPath: controlSocket,
        method: 'GET',
        path: '/v1/health',
        timeoutMs: LIMITS.healthMs,
      });
      return hasPid(body) && body.pid !== controlPid() ? 'replaced' : 'there';
    } catch (error) {
      return error instanceof NoAnswer || errnoOf(error) === 'EAGAIN' ? 'silent' : 'there';
    }
  }
}
