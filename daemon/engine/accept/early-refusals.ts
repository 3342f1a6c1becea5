// What becomes of a refusal without a plan: it is counted, in the log, and an event where somebody would miss it.
import type { BrokerEvent } from '../../api/answers.ts';
import type { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import { classOf } from '../../errors/error-class.ts';
import type { Tally } from '../metrics/tally.ts';

export interface EarlyRefusalsOptions {
  readonly tally: Pick<Tally, 'requested' | 'refused'>;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

/** A flood for a full target has had its events, and a client that has gone hears nothing. */
const UNTOLD: ReadonlySet<string> = new Set(['target_busy', 'stream_ended']);

export class EarlyRefusals {
  readonly #options: EarlyRefusalsOptions;

  constructor(options: EarlyRefusalsOptions) {
    this.#options = options;
  }

  /** A request whose head was no request for a stream. Anything may come there, so the log says it with the debug level alone. */
  withoutRequest(failure: Failure): void {
    // One that is late has asked for nothing.
    if (failure.code === 'request_timeout') return;
    const { tally, log } = this.#options;
    tally.requested('streams_socket');
    tally.refused(classOf(failure.data));
    log.debug({ code: failure.code }, 'request refused');
  }

  /** A request with an id, which has been counted as a request. */
  refused(requestId: string, { code, data, message: detail }: Failure): void {
    const { tally, log, event } = this.#options;
    const kind = classOf(data);
    log.info({ requestId, code, causes: data.causes }, 'request refused');
    tally.refused(kind);
    if (!UNTOLD.has(code)) event({ type: 'stream refused', requestId, code, class: kind, detail });
  }
}
