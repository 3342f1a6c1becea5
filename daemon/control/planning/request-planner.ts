// Makes plans from the text of a Bmux-Request header, for requests that an engine has accepted.
import type { StreamRequest } from '../../api/request.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { parseRequest } from '../../request/parse.ts';
import { planStream, type PlanningDeps } from './plan-stream.ts';

/** Parsed headers that are cached. A shell usually sends the same header each time. */
const MAX_PARSED = 16;

export class RequestPlanner {
  readonly #deps: PlanningDeps;
  /** Parsed requests by the text of their header. Parsing takes a tenth of the time that a plan takes [measured]. */
  readonly #parsed = new LruMap<string, StreamRequest>(MAX_PARSED);
  #refusal: (() => Failure) | undefined;

  constructor(deps: PlanningDeps) {
    this.#deps = deps;
  }

  /** Parses a header. Equal texts give the same object while they are cached. Throws what `parseRequest` throws. */
  request(header: string | undefined): StreamRequest {
    const known = header === undefined ? undefined : this.#parsed.get(header);
    if (known !== undefined) return known;
    const request = parseRequest(header);
    if (header !== undefined) this.#parsed.set(header, request);
    return request;
  }

  /** The plan of a request. Rejects with the failure for the user. `signalOf` is called only for a lookup at the control plane. */
  async plan(requestId: string, header: string | undefined, signalOf: () => AbortSignal): Promise<Plan> {
    if (this.#refusal !== undefined) throw this.#refusal();
    return planStream(this.request(header), requestId, this.#deps, signalOf);
  }

  /** Makes `plan` reject every later request with what `refusal` returns. */
  close(refusal: () => Failure = () => fail('stopping')): void {
    this.#refusal = refusal;
  }
}
