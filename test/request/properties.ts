// Properties that must hold for every header. Each takes the number of runs, so that the soak can run them longer.
import fc from 'fast-check';
import { Failure } from '../../daemon/base/failure.ts';
import { parseRequest } from '../../daemon/request/parse.ts';
import { asciiJson } from '../../daemon/api/header.ts';
import { ENV_WHITELIST, type StreamRequest } from '../../daemon/api/request.ts';

const anyText = fc.string({ unit: 'binary', maxLength: 40 });
const pathText = anyText.map((text) => text.replaceAll('\0', ''));

/** Requests with only valid fields. */
const validRequest: fc.Arbitrary<StreamRequest> = fc.record(
  {
    target: anyText,
    scope: fc.constantFrom('normal' as const, 'recovery_inspection' as const),
    policy: fc.boolean(),
    ifRunning: fc.boolean(),
    clientName: anyText,
    contract: fc.record(
      {
        epoch: fc.constantFrom(3 as const, 4 as const),
        revisions: fc.record({ min: fc.nat(), max: fc.nat() }, { noNullPrototype: true }),
        capabilities: fc.array(anyText, { maxLength: 5 }),
      },
      { requiredKeys: ['epoch'], noNullPrototype: true },
    ),
    buildId: anyText,
    slot: anyText,
    cwd: pathText,
    env: fc.dictionary(fc.constantFrom(...ENV_WHITELIST), pathText, { noNullPrototype: true }),
  },
  { requiredKeys: [], noNullPrototype: true },
);

/** Any header gives a request or a failure with a code for requests. */
export function anyHeaderGivesRequestOrFailure(runs: number): void {
  const mutated = fc
    .tuple(validRequest, fc.string({ maxLength: 12 }), fc.jsonValue({ maxDepth: 3 }))
    .map(([request, key, value]) => asciiJson({ ...request, [key]: value }));
  const header = fc.oneof(
    anyText,
    fc.jsonValue().map(asciiJson),
    fc.jsonValue().map((v) => JSON.stringify(v)),
    mutated,
  );
  fc.assert(
    fc.property(header, (text) => {
      try {
        return typeof parseRequest(text) === 'object';
      } catch (error) {
        return error instanceof Failure && error.code.startsWith('request_');
      }
    }),
    { numRuns: runs },
  );
}

/** A client writes printable ASCII, and the daemon reads the same request from it. */
export function headerCarriesTheRequest(runs: number): void {
  fc.assert(
    fc.property(validRequest, (request) => {
      const header = asciiJson(request);
      const back = JSON.stringify(sorted(parseRequest(header)));
      return /^[\x20-\x7e]*$/.test(header) && back === JSON.stringify(sorted(request));
    }),
    { numRuns: runs },
  );
}

/** Sorts fields and variables, because JSON objects have no order. */
function sorted(request: StreamRequest): unknown {
  const byName = (value: object): object =>
    Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  return byName({ ...request, ...(request.env === undefined ? {} : { env: byName(request.env) }) });
}
