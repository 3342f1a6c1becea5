// One stream of an engine, from the accepted request until both sides are closed: what is known of it, and who has ended it.
import type { StreamRow, Transport } from '../api/answers.ts';
import type { EndRow } from '../api/stream-end.ts';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { withoutCredentials } from '../base/redact.ts';
import { askedFor, type Plan } from '../engine-protocol/plan.ts';
import { fail } from '../errors/fail.ts';
import { clientPidOf } from '../sockets/peer.ts';
import type { Splice } from '../splice/splice.ts';
import { RequestWait } from './accept/request-wait.ts';
import type { Accepted } from './accept/target-socket-client.ts';
import type { OpenedStream } from './upstream/dialler.ts';

export class StreamEntry {
  readonly id: string;
  /** The plan in use. It is replaced when a renewed share link leads elsewhere. */
  plan: Plan;
  /** What the client waits for until its stream is open. */
  readonly wait: RequestWait;
  opened: OpenedStream | undefined;
  /** Why its client cannot rely on having everything. */
  lost: string | undefined;
  /** Resolves when the stream is over. Never rejects. */
  over: Promise<void> = Promise.resolve();
  readonly #sinceMs = Date.now();
  readonly #client: { readonly clientPid?: number };
  readonly #abort: AbortController;
  #splice: Splice | undefined;
  /** Who has ended it first, for the log. */
  #endedBy: string | undefined;
  #isEndedById = false;

  constructor(id: string, { plan, client, wait, abort }: Accepted) {
    this.id = id;
    this.plan = plan;
    this.wait = wait ?? new RequestWait({ clock: SYSTEM_CLOCK });
    this.#client = clientPidOf(client.socket);
    this.#abort = abort ?? new AbortController();
  }

  /** Aborts when the stream is ended before it is open. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get splice(): Splice | undefined {
    return this.#splice;
  }

  get transport(): Transport {
    return this.plan.destination.route.transport;
  }

  /** Ends the stream gracefully. `who` asked for it, for the log. `byId`: a person has named this stream. */
  end(who: string, byId = false): void {
    this.#endedBy ??= who;
    this.#isEndedById ||= byId;
    this.#abort.abort(fail('stream_ended', { id: this.id, who }));
    this.#splice?.stop(who);
  }

  /** Its client and its server are joined from now on. A stream that was ended while it was opened ends at once. */
  join(splice: Splice): void {
    this.#splice = splice;
    if (this.signal.aborted) splice.stop(this.#endedBy ?? 'bmuxd');
  }

  row(generation: string): StreamRow {
    const [{ plan, opened }, splice] = [this, this.#splice];
    return {
      id: this.id,
      generation,
      requestId: plan.client.requestId,
      target: askedFor(plan.destination),
      transport: this.transport,
      state: splice === undefined ? 'opening' : splice.ending ? 'ending' : 'live',
      clientName: plan.client.name,
      ...this.#client,
      sinceMs: this.#sinceMs,
      ...(splice === undefined ? { waiting: this.wait.current } : {}),
      ...(opened === undefined ? {} : opened.candidate),
      bytesUp: splice?.bytesUp ?? 0,
      bytesDown: splice?.bytesDown ?? 0,
    };
  }

  /** How it ended. `lost`: why its client cannot rely on having everything, or got no stream. */
  endRow(lost: string | undefined, byServer: boolean): Omit<EndRow, 'atMs'> {
    return {
      id: this.id,
      target: withoutCredentials(this.plan.destination.label),
      transport: this.transport,
      ...this.#client,
      ...(lost === undefined ? {} : { lost: withoutCredentials(lost) }),
      by: this.#isEndedById ? 'person' : byServer ? 'server' : 'client',
    };
  }
}
