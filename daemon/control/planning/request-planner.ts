// From the text of a Bmux-Request header to a plan, for requests that an engine has accepted.
import type { StreamRequest } from '../../api/request.ts';
import { LruMap } from '../../base/lru-map.ts';
import { fail } from '../../errors/fail.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { parseRequest } from '../../request/parse.ts';
import { planStream, type PlanningDeps } from './plan-stream.ts';

/** Parsed headers that are kept: those of as many shells. */
const MAX_PARSED = 16;

export class RequestPlanner {
  readonly #deps: PlanningDeps;
  /** A shell asks in the same words again and again, and the checks are a tenth of the work for a plan [measured]. */
  readonly #parsed = new LruMap<string, StreamRequest>(MAX_PARSED);
  #closed = false;

  constructor(deps: PlanningDeps) {
    this.#deps = deps;
  }

  /** What a header asks for. Throws what `parseRequest` throws. */
  request(header: string | undefined): StreamRequest {
    const known = header === undefined ? undefined : this.#parsed.get(header);
    if (known !== undefined) return known;
    const request = parseRequest(header);
    if (header !== undefined) this.#parsed.set(header, request);
    return request;
  }

  /** The plan of a request. Rejects with the failure that the user should read. `signalOf` is called when somebody else has to be asked. */
  async plan(requestId: string, header: string | undefined, signalOf: () => AbortSignal): Promise<Plan> {
    if (this.#closed) throw fail('stopping');
    return planStream(this.request(header), requestId, this.#deps, signalOf);
  }

  /** From now on every request is refused with `stopping`. */
  close(): void {
    this.#closed = true;
  }
}
